"""The smaller variants of an ONNX graph: int8, 4-bit weights, fp16."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.export.graphs import as_matmuls, constants, drop_unused, inputs, subgraphs
from kfp_textclf.components.export.shared_weights import share_weights

if TYPE_CHECKING:
    import onnx

LARGEST = {"int8": 0.27, "int4": 0.17, "fp16": 0.5}  # of the bytes of the weights; scales included
GROWTH = 3  # of the rest of the file: biases, and nodes, of which a quantised multiplication takes several
BLOCK, SMALLEST_BLOCK = 128, 16  # values of a 4-bit weight that share a scale
INT4_OPSET = 21  # the first that knows numbers of 4 bits
WITH_SCALES = ("GatherBlockQuantized", "MatMulNBits")  # operators of 4-bit weights
LEFT = 0.05  # of the bytes of the weights: tables that no quantiser knows, such as one of relative positions
SMALL = 2**16  # bytes of such tables that matter in no file


def quantise_int8(model: "onnx.ModelProto", keep: Sequence[str] = ()) -> "onnx.ModelProto":
    """Return the graph with signed int8 weights per channel and dynamic int8 activations; embeddings included.

    Weights of multiplications lie within -64 and 64. On x86 CPUs without VNNI (AVX2, AVX-512) onnxruntime adds two
    products of a uint8 activation and an int8 weight in 16 bits and clamps what does not fit, so that the same file
    would answer otherwise where it serves than where it was judged; 2 * 255 * 64 always fits. On the sample's 4,126
    texts the logits of the packaged MiniLM were off by 0.062 (root mean square) with the clamping, and by 0.045
    without, with 7 bits as with 8.

    Source: onnxruntime, "Quantize ONNX models", "When and why do I need to try U8U8?" and its ``reduce_range``.

    Args:
        model: An fp32 graph, its weights shared.
        keep: Names of nodes that stay in fp32.

    Raises:
        UserError: Much of the model is in weights that onnxruntime does not quantise.
        RuntimeError: Another matrix multiplication with a constant weight is still in fp32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as directory, _quiet():
        source, target = Path(directory) / "source.onnx", Path(directory) / "target.onnx"
        onnx.save(_with_matmuls(model), source)
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=list(keep),
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        quantised = onnx.load(target)
    share_weights(quantised)
    return _checked(quantised, model, "int8", keep)


def quantise_int4(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with weights of 4 bits, embeddings included, in blocks that share a scale and a zero point.

    Activations stay in fp32: the file is half of int8's, and slower. A graph of an older operator set is converted to
    `INT4_OPSET`. Blocks are as long as the weight allows, up to `BLOCK`.

    Args:
        model: An fp32 graph, its weights shared.

    Raises:
        UserError: Much of the model is in weights that onnxruntime does not quantise.
        RuntimeError: A matrix multiplication with a constant weight is still in fp32.
    """
    from onnx import version_converter
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    quantised = _with_matmuls(model)
    if any(entry.domain == "" and entry.version < INT4_OPSET for entry in quantised.opset_import):
        quantised = version_converter.convert_version(quantised, INT4_OPSET)
    blocks = _blocks(quantised)
    for block in sorted(set(blocks.values())):
        settings = DefaultWeightOnlyQuantConfig(
            block_size=block,
            is_symmetric=False,
            accuracy_level=4,  # int8 arithmetic
            op_types_to_quantize=("MatMul", "Gather"),
            quant_axes=(("MatMul", 0), ("Gather", 1)),
        )
        others = [name for name, length in blocks.items() if length != block]
        with _quiet(), np.errstate(invalid="ignore", divide="ignore"):  # blocks that are all zero
            quantiser = MatMulNBitsQuantizer(quantised, algo_config=settings, nodes_to_exclude=others)
            quantiser.process()
        quantised = quantiser.model.model  # pyright: ignore[reportAttributeAccessIssue]
    share_weights(quantised)
    return _checked(quantised, model, "int4")


def _blocks(model: "onnx.ModelProto") -> dict[str, int]:
    """Return the length of a block for each node with a weight: a power of 2 that the weight has as many values for."""
    weights = {tensor.name: tensor for tensor, _ in _weights(model)}
    summed = {"MatMul": (1, -2), "Gather": (0, -1)}  # the weight's place among the inputs, and the axis of its blocks
    lengths = {
        node.name: weights[node.input[place]].dims[axis]
        for node in model.graph.node
        for place, axis in [summed.get(node.op_type, (0, 0))]
        if node.op_type in summed and node.input[place] in weights
    }
    return {name: min(BLOCK, max(SMALLEST_BLOCK, 1 << n.bit_length() - 1)) for name, n in lengths.items()}


def to_fp16(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph in fp16, inputs and outputs as they were: for GPUs, which compute it faster; CPUs do not."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    half = convert_float_to_float16(graph, keep_io_types=True)
    share_weights(half)
    return half


def unquantised_matmuls(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the ``MatMul`` and ``Gemm`` nodes that multiply with a constant weight in floating point.

    A weight behind operators that only move or convert it, and one in an inner graph, counts.
    """
    return list(_float_matmuls(model.graph, set()))


def _float_matmuls(graph: "onnx.GraphProto", outer: set[str]) -> Iterator[str]:
    constant = outer | constants(graph, outer)
    for node in graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constant:
            yield node.name
        for inner in subgraphs(node):
            yield from _float_matmuls(inner, constant)


def weight_bytes(model: "onnx.ModelProto") -> int:
    """Return the bytes of the fp32 weights of a graph that can be quantised: of multiplications and embeddings."""
    return sum(tensor.ByteSize() for tensor, _ in _weights(model))


def _weights(model: "onnx.ModelProto") -> list[tuple["onnx.TensorProto", int]]:
    """Return these weights, each with its place among the inputs of the nodes that read it: 0 for embeddings."""
    import onnx

    places = {"MatMul": 1, "Gemm": 1, "Gather": 0}
    read = {
        node.input[places[node.op_type]]: places[node.op_type] for node in model.graph.node if node.op_type in places
    }
    return [
        (tensor, read[tensor.name])
        for tensor in model.graph.initializer
        if tensor.name in read and tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1
    ]


def _with_matmuls(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy in which linear layers are multiplications, the only kind that all quantisers know."""
    import onnx

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    as_matmuls(graph.graph)
    drop_unused(graph.graph)
    return graph


def float_weights(model: "onnx.ModelProto", keep: Sequence[str] = ()) -> list["onnx.TensorProto"]:
    """Return the fp32 weights of more than one dimension, largest first, scales not among them.

    Args:
        model: A graph, quantised or not.
        keep: Names of nodes whose weights do not count.
    """
    import onnx

    apart = [node for node in model.graph.node if node.name in keep or node.op_type in WITH_SCALES]
    kept = {name for node in apart for name in inputs(node)}
    found = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1 and tensor.name not in kept
    ]
    return sorted(found, key=lambda tensor: tensor.ByteSize(), reverse=True)


def _checked(
    quantised: "onnx.ModelProto", source: "onnx.ModelProto", variant: str, keep: Sequence[str] = ()
) -> "onnx.ModelProto":
    left = [name for name in unquantised_matmuls(quantised) if name not in keep]
    if left:
        raise RuntimeError(f"{variant}: {len(left)} matrix multiplications are still in fp32: {', '.join(left[:3])}")
    tables = float_weights(quantised, keep)
    size, full = (sum(tensor.ByteSize() for tensor in found) for found in (tables, float_weights(source)))
    if size > max(SMALL, LEFT * full):
        raise UserError(
            f"{variant}: {len(tables)} weights, {size} bytes of {full}, would stay in fp32, as no quantiser knows what "
            f"reads them: {', '.join(repr(tensor.name) for tensor in tables[:3])}; fine-tune another base model"
        )
    return quantised


def check_size(variant: str, size: int, model: "onnx.ModelProto") -> None:
    """Refuse a variant that is larger than its kind can be: under 0.3 of fp32 for int8, but for tiny models.

    The bound is a share of the bytes of the weights, and some times the rest, which in a tiny model is not small.

    Args:
        variant: Its name, one of `VARIANTS`.
        size: Its bytes.
        model: The fp32 graph, as it is stored.

    Raises:
        RuntimeError: It is too large.
    """
    full, weights = model.ByteSize(), weight_bytes(model)
    limit = LARGEST[variant] * weights + GROWTH * (full - weights)
    if size > limit:
        raise RuntimeError(f"{variant}: {size} bytes of {full} in fp32, more than {limit:.0f}: weights stayed in fp32")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the root logger, to which onnxruntime's quantisers report what they do and advise what was done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


VARIANTS: dict[str, Callable[["onnx.ModelProto"], "onnx.ModelProto"]] = {
    "int8": quantise_int8,
    "int4": quantise_int4,
    "fp16": to_fp16,
    "fp32": lambda model: model,
}
