"""Folding and int8 quantisation."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import random_model
from baselines.export import pairwise_deduplicated, plain_int8
from onnx import TensorProto, helper, numpy_helper

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.export.folding import fold_constants
from kfp_textclf.components.export.graphs import as_matmuls
from kfp_textclf.components.export.quantisation import (
    check_size,
    float_weights,
    quantise_int4,
    quantise_int8,
    unquantised_matmuls,
    weight_bytes,
)
from kfp_textclf.components.export.shared_weights import share_weights
from kfp_textclf.components.export.torch_export import to_onnx

IDS = np.random.default_rng(0).integers(1, 100, (3, 9))
FEED = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}


def logits(graph: onnx.ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], FEED)[0])


def operators(graph: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


@pytest.fixture(scope="module")
def albert() -> onnx.ModelProto:
    """A random ALBERT whose one layer is used six times, exported, shared and folded as the stage does."""
    from transformers import AlbertConfig, AlbertForSequenceClassification, set_seed

    set_seed(0)
    config = AlbertConfig(
        vocab_size=1000,
        embedding_size=16,
        hidden_size=64,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=32,
        num_labels=3,  # type: ignore[call-arg]
        attn_implementation="eager",  # type: ignore[call-arg]
    )
    graph = to_onnx(AlbertForSequenceClassification(config).eval(), 17)
    share_weights(graph)
    graph = fold_constants(graph)
    share_weights(graph)
    return graph


def layer_matrices(graph: onnx.ModelProto, kind: int) -> list[tuple[int, ...]]:
    return sorted(tuple(t.dims) for t in graph.graph.initializer if t.data_type == kind and len(t.dims) == 2)


def test_shared_layer_is_stored_once_in_fp32(albert: onnx.ModelProto) -> None:
    matrices = [dims for dims in layer_matrices(albert, TensorProto.FLOAT) if dims in ((64, 256), (256, 64))]
    assert matrices == [(64, 256), (256, 64)]
    assert operators(albert).count("MatMul") >= 6 * 6, "the layer runs six times"


def test_shared_layer_is_quantised_whole_and_stored_once(albert: onnx.ModelProto) -> None:
    int8 = quantise_int8(albert)
    assert unquantised_matmuls(int8) == []
    stored = layer_matrices(int8, TensorProto.INT8)
    assert stored.count((64, 256)) == stored.count((256, 64)) == 1
    assert stored.count((64, 64)) <= 5, "query, key, value, attention output, pooler"
    assert operators(int8).count("MatMulInteger") >= 6 * 6
    assert not any(dims in ((64, 256), (256, 64), (64, 64)) for dims in layer_matrices(int8, TensorProto.FLOAT))


def test_quantised_model_answers_nearly_the_same_and_is_smaller(albert: onnx.ModelProto) -> None:
    int8 = quantise_int8(albert)
    assert np.abs(logits(int8) - logits(albert)).max() < 0.05 * max(1, np.abs(logits(albert)).max())
    assert int8.ByteSize() < albert.ByteSize()


def test_quantising_leaves_its_input_alone(albert: onnx.ModelProto) -> None:
    before = albert.SerializeToString()
    quantise_int8(albert)
    assert albert.SerializeToString() == before


def test_quantising_leaves_the_log_level_alone(albert: onnx.ModelProto, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        quantise_int8(albert)
        assert logging.getLogger().level == logging.INFO


def test_folding_changes_no_answer(albert: onnx.ModelProto) -> None:
    np.testing.assert_allclose(logits(fold_constants(albert)), logits(albert), atol=1e-6)


@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_multiplication_left_in_fp32_is_found(operator: str) -> None:
    weight = numpy_helper.from_array(np.ones((3, 4), dtype=np.float32), "w")
    graph = helper.make_graph([helper.make_node(operator, ["x", "w"], ["y"], name="left")], "g", [], [], [weight])
    assert unquantised_matmuls(helper.make_model(graph)) == ["left"]


def test_multiplication_of_two_computed_values_needs_no_int8() -> None:
    graph = helper.make_graph([helper.make_node("MatMul", ["q", "k"], ["y"], name="scores")], "g", [], [])
    assert unquantised_matmuls(helper.make_model(graph)) == []


def test_model_that_stays_in_fp32_is_refused(albert: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quantiser that silently does nothing, as onnxruntime's did behind aliases."""
    import onnxruntime.quantization

    def copy(source: Path, target: Path, **options: object) -> None:
        Path(target).write_bytes(Path(source).read_bytes())

    monkeypatch.setattr(onnxruntime.quantization, "quantize_dynamic", copy)
    with pytest.raises(RuntimeError, match="matrix multiplications are still in fp32"):
        quantise_int8(albert)


def test_plain_quantisation_leaves_what_aliases_hide_in_fp32(tmp_path: Path) -> None:
    """What `quantise_int8` refuses to do, without a word from onnxruntime."""
    weight = numpy_helper.from_array(np.ones((3, 4), dtype=np.float32), "w")
    nodes = [
        helper.make_node("Identity", ["w"], ["alias"]),
        helper.make_node("MatMul", ["x", "alias"], ["y"], name="hidden"),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, size]) for name, size in (("x", 3), ("y", 4))]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "fp32")
    plain = onnx.load(plain_int8(tmp_path / "fp32", tmp_path / "int8"))
    assert "MatMulInteger" not in operators(plain)
    assert unquantised_matmuls(plain) == ["hidden"]


@pytest.fixture(scope="module")
def plainly_quantised(albert: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """What onnxruntime makes of the ALBERT: scales and zero points lie outside raw_data."""
    directory = tmp_path_factory.mktemp("plain")
    onnx.save(albert, directory / "fp32.onnx")
    return onnx.load(plain_int8(directory / "fp32.onnx", directory / "int8.onnx"))


def test_comparing_raw_data_alone_corrupts_a_quantised_graph(plainly_quantised: onnx.ModelProto) -> None:
    """The tutorial's way: tensors without raw data are all equal, whatever their types."""
    graph = onnx.ModelProto.FromString(plainly_quantised.SerializeToString())
    assert sum(not tensor.raw_data for tensor in graph.graph.initializer) > 5
    assert pairwise_deduplicated(graph) > 5
    with pytest.raises(Exception, match=r"INVALID_GRAPH|Type Error"):
        logits(graph)


def test_sharing_a_quantised_graph_changes_no_answer(plainly_quantised: onnx.ModelProto) -> None:
    graph = onnx.ModelProto.FromString(plainly_quantised.SerializeToString())
    assert share_weights(graph) > 0
    np.testing.assert_allclose(logits(graph), logits(plainly_quantised), atol=1e-6)  # fusions may round otherwise


@pytest.mark.parametrize(("variant", "ratio"), [("int8", 0.3), ("int4", 0.2), ("fp16", 0.52)])
def test_model_that_is_all_weights_must_reach_the_ratio(variant: str, ratio: float) -> None:
    weight = numpy_helper.from_array(np.ones((300, 400), dtype=np.float32), "w")
    model = helper.make_model(helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [], [], [weight]))
    with pytest.raises(RuntimeError, match=f"{variant}: .* weights stayed in fp32"):
        check_size(variant, int(ratio * model.ByteSize()), model)


def test_tiny_model_may_be_larger_by_what_is_not_weights(albert: onnx.ModelProto) -> None:
    weights, full = weight_bytes(albert), albert.ByteSize()
    assert 0 < weights < 0.95 * full
    limit = int(0.27 * weights + 3 * (full - weights))
    check_size("int8", limit, albert)
    with pytest.raises(RuntimeError, match="weights stayed in fp32"):
        check_size("int8", limit + 1, albert)


def test_nodes_to_keep_stay_in_fp32(albert: onnx.ModelProto) -> None:
    kept = unquantised_matmuls(albert)[:2]
    assert unquantised_matmuls(quantise_int8(albert, kept)) == kept


@pytest.mark.parametrize("operator", ["Transpose", "Cast", "Identity", "Reshape"])
def test_multiplication_with_a_moved_weight_is_found(operator: str) -> None:
    weight = numpy_helper.from_array(np.ones((3, 4), dtype=np.float32), "w")
    nodes = [helper.make_node(operator, ["w"], ["moved"]), helper.make_node("MatMul", ["x", "moved"], ["y"], name="m")]
    assert unquantised_matmuls(helper.make_model(helper.make_graph(nodes, "g", [], [], [weight]))) == ["m"]


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_become_multiplications(turned: int, bias: bool) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(4, 3) if turned else (3, 4)).astype(np.float32)
    stored = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(4, dtype=np.float32), "b")]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, size]) for name, size in (("x", 3), ("logits", 4))
    ]
    node = helper.make_node("Gemm", ["x", "w", "b"][: 2 + bias], ["logits"], name="linear", transB=turned)
    graph = helper.make_graph([node], "g", values[:1], values[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = random.normal(size=(2, 3)).astype(np.float32)
    expected = x @ (weight.T if turned else weight) + bias
    as_matmuls(model.graph)
    assert operators(model) == ["MatMul", "Add"][: 1 + bias]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(np.asarray(session.run(["logits"], {"x": x})[0]), expected, rtol=1e-5)


def embedding_and(operator: str, weight: np.ndarray, table: np.ndarray, **settings: str) -> onnx.ModelProto:
    """Return a graph that looks up a table, multiplies with a matrix of 256 rows, and then with a weight."""
    stored = {"table": table, "square": np.random.default_rng(0).normal(size=(256, 256)), "weight": weight}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["looked up"], name="look up"),
            helper.make_node("ReduceMax", ["looked up"], ["largest"], axes=[-1]),
            helper.make_node("Expand", ["largest", "shape"], ["wide"]),
            helper.make_node("MatMul", ["wide", "square"], ["product"], name="multiply"),
            helper.make_node(operator, ["product", "weight"], ["logits"], name="last", **settings),
        ],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [3, 9]) for name in FEED],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in stored.items()]
        + [numpy_helper.from_array(np.array([1, 1, 256], dtype=np.int64), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_products_fit_the_16_bits_that_cpus_without_vnni_add_them_in() -> None:
    """All the largest: of weights up to 127 such a CPU loses half."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["logits"], name="m")]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 64]) for name in ("x", "logits")]
    stored = [numpy_helper.from_array(np.ones((64, 64), dtype=np.float32), "w")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], stored)
    int8 = quantise_int8(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    weights = [numpy_helper.to_array(t) for t in int8.graph.initializer if t.data_type == TensorProto.INT8]
    assert max(np.abs(weight.astype(int)).max() for weight in weights) == 64
    session = onnxruntime.InferenceSession(int8.SerializeToString(), providers=["CPUExecutionProvider"])
    answer = np.asarray(session.run(["logits"], {"x": np.ones((2, 64), dtype=np.float32)})[0])
    np.testing.assert_allclose(answer, np.full((2, 64), 64.0), rtol=0.01)


@pytest.mark.parametrize("quantise", [quantise_int8, quantise_int4])
def test_large_weight_that_no_quantiser_knows_is_named(quantise) -> None:
    random = np.random.default_rng(0)
    graph = embedding_and(
        "Einsum", random.normal(size=(256, 128)), random.normal(size=(100, 32)), equation="abc,cd->abd"
    )
    with pytest.raises(
        UserError, match=r"1 weights, 1310\d\d bytes of 4060\d\d, would stay in fp32, .*: 'weight'; fine"
    ):
        quantise(graph)


def test_embedding_that_is_kept_is_none_that_was_left(albert: onnx.ModelProto) -> None:
    table = next(tensor.name for tensor in albert.graph.initializer if list(tensor.dims) == [1000, 16])
    node = next(node.name for node in albert.graph.node if table in node.input)
    int8 = quantise_int8(albert, [node])
    assert table in [tensor.name for tensor in float_weights(int8)]
    assert table not in [tensor.name for tensor in float_weights(int8, [node])]


def test_narrow_table_does_not_shorten_the_blocks_of_other_weights() -> None:
    random = np.random.default_rng(0)
    graph = embedding_and("MatMul", random.normal(size=(256, 40)), random.normal(size=(100, 12)))
    int4 = quantise_int4(graph)
    blocks = {
        node.op_type: attribute.i
        for node in int4.graph.node
        for attribute in node.attribute
        if attribute.name == "block_size"
    }
    assert blocks == {"GatherBlockQuantized": 16, "MatMulNBits": 128}
    assert np.corrcoef(logits(int4).ravel(), logits(graph).ravel())[0, 1] > 0.95


@pytest.mark.parametrize("opset", range(14, 22))
def test_graph_of_any_opset_can_have_4_bits(opset: int) -> None:
    graph = to_onnx(random_model("bert"), opset)
    share_weights(graph)
    graph = fold_constants(graph)
    int4 = quantise_int4(graph)
    onnx.checker.check_model(int4)
    assert {entry.domain: entry.version for entry in int4.opset_import}[""] == 21
    assert np.abs(logits(int4) - logits(graph)).max() < 0.5 * np.ptp(logits(graph))
