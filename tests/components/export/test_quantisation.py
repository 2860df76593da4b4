"""Folding and int8 quantisation."""

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from kfp_textclf.components.export.quantisation import fold_constants, quantise_int8, unquantised_matmuls
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
