"""Folding and int8 quantisation of an ONNX graph."""

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_textclf.components.export.shared_weights import share_weights

if TYPE_CHECKING:
    import onnx


def fold_constants(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with constant expressions computed, by onnxruntime's portable (BASIC) optimisations."""
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "source.onnx", Path(directory) / "target.onnx"
        onnx.save(model, source)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return onnx.load(target)


def quantise_int8(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with signed int8 weights per channel and dynamic int8 activations; embeddings included.

    Raises:
        RuntimeError: A matrix multiplication with a constant weight is still in fp32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "source.onnx", Path(directory) / "target.onnx"
        onnx.save(model, source)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # onnxruntime advises a preprocessing that was done
        try:
            quantize_dynamic(
                source,
                target,
                weight_type=QuantType.QInt8,
                per_channel=True,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        finally:
            root.setLevel(level)
        quantised = onnx.load(target)
    share_weights(quantised)
    left = unquantised_matmuls(quantised)
    if left:
        raise RuntimeError(f"{len(left)} matrix multiplications are still in fp32: {', '.join(left[:3])}")
    return quantised


def unquantised_matmuls(model: "onnx.ModelProto") -> list[str]:
    """Return the names of the ``MatMul`` and ``Gemm`` nodes that multiply with a constant fp32 weight."""
    import onnx

    matrices = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    }
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ("MatMul", "Gemm") and matrices.intersection(node.input)
    ]
