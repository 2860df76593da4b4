"""Every family of encoders: the exported graph and its variants answer as torch does, at any batch and length."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import SIZES, VOCABULARY, random_model

from kfp_textclf.components.common.first_token import FAMILIES
from kfp_textclf.components.export.folding import fold_constants
from kfp_textclf.components.export.quantisation import VARIANTS, check_size, unquantised_matmuls
from kfp_textclf.components.export.shared_weights import compact, share_weights
from kfp_textclf.components.export.torch_export import to_onnx

SHAPES = ((1, 1), (1, 2), (1, 3), (2, 3), (3, 9), (5, 17), (1, 120))
CLOSE = {"fp32": 1e-5, "fp16": 0.02, "int8": 0.2, "int4": 0.5}  # of the spread of the logits


def batch(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return random texts; every other one is padded to half."""
    ids = np.random.default_rng(shape[1]).integers(5, VOCABULARY, shape)
    mask = np.ones_like(ids)
    mask[1::2, (shape[1] + 1) // 2 :] = 0
    return {"input_ids": np.where(mask == 1, ids, 0), "attention_mask": mask}


def answers(graph: onnx.ModelProto) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(session.run(["logits"], batch(shape))[0]) for shape in SHAPES]


def matrices(graph: onnx.ModelProto) -> set[tuple[int, ...]]:
    """Return the shapes of the matrices that a graph holds in fp32."""
    stored = (tensor for tensor in graph.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT)
    return {tuple(tensor.dims) for tensor in stored if len(tensor.dims) == 2 and min(tensor.dims) > 3}


@pytest.fixture(scope="module", params=SIZES)
def family(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A random model's graph as the stage makes it, the sizes on the way, and what torch answers."""
    import torch

    torch.set_num_threads(1)
    model = random_model(request.param)
    graph = to_onnx(model, 17)
    sizes = [graph.ByteSize()]
    share_weights(graph)
    sizes.append(graph.ByteSize())
    graph = fold_constants(graph)
    sizes.append(graph.ByteSize())
    with torch.inference_mode():
        truth = [
            model(**{name: torch.from_numpy(values) for name, values in batch(shape).items()}).logits.numpy()
            for shape in SHAPES
        ]
    return SimpleNamespace(graph=graph, sizes=[*sizes, compact(graph).ByteSize()], truth=truth)


@pytest.mark.parametrize("variant", VARIANTS)
def test_answers_are_those_of_torch(family: SimpleNamespace, variant: str) -> None:
    graph = compact(VARIANTS[variant](family.graph))
    onnx.checker.check_model(graph)
    spread = np.ptp(np.concatenate(family.truth))
    for found, wanted in zip(answers(graph), family.truth, strict=True):
        np.testing.assert_allclose(found, wanted, atol=CLOSE[variant] * spread)


@pytest.mark.parametrize("name", FAMILIES)
def test_last_feed_forward_part_computes_the_first_token_alone(name: str) -> None:
    model = random_model(name)
    graph = to_onnx(model, 17)
    wide = [node.output[0] for node in graph.graph.node if node.op_type in ("Gelu", "Erf", "Tanh", "Relu")]
    graph.graph.output.extend(onnx.ValueInfoProto(name=output) for output in wide)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [values for values in map(np.asarray, session.run(wide, batch((2, 9)))) if values.shape[-1] == 64]
    assert [values.shape[1] for values in found] == [9] * (model.config.num_hidden_layers - 1) + [1]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_size_never_grows(family: SimpleNamespace) -> None:
    assert family.sizes == sorted(family.sizes, reverse=True)


@pytest.mark.parametrize("variant", ["int8", "int4"])
def test_no_weight_stays_in_floating_point(family: SimpleNamespace, variant: str) -> None:
    small = VARIANTS[variant](family.graph)
    assert unquantised_matmuls(family.graph) != []
    assert unquantised_matmuls(small) == []
    assert not matrices(small) & matrices(family.graph), "embeddings are quantised too"
    check_size(variant, compact(small).ByteSize(), compact(family.graph))
