"""Whether fp16 can hold what a graph computes. CPUs compute fp16 files in fp32, and never show that it cannot."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.encoding import TextEncoder
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus

if TYPE_CHECKING:
    import onnx

LIMIT = 65504.0  # the largest number of fp16 (IEEE 754, binary16)
MASK = -1e9  # and less is what masks of attention add to hide a token; fp16's lowest number hides it as well
TEXTS = 64  # that are tried, each alone: none is padded


def check_half_range(model: "onnx.ModelProto", encoder: TextEncoder, texts: Sequence[str]) -> None:
    """Refuse a graph with a weight, or a value on one of the texts, that fp16 cannot hold.

    Args:
        model: The fp32 graph.
        encoder: Makes batches of texts.
        texts: The validation texts; the first `TEXTS` are tried.

    Raises:
        UserError: There is such a number.
    """
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    graph, names = _with_peaks(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    encoded = encoder.encode(texts[:TEXTS])
    peaks = dict.fromkeys(names.values(), 0.0)
    for row in range(len(encoded.ids)):
        found = session.run(list(names), encoded.padded(np.array([row])))
        for name, peak in zip(names.values(), found, strict=True):
            peaks[name] = float(np.maximum(peaks[name], np.asarray(peak)))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:  # a number alone may be a mask's
            peaks[tensor.name] = _peak(numpy_helper.to_array(tensor))
    for name, peak in peaks.items():
        if not peak <= LIMIT:
            raise UserError(
                f"fp16: {name!r} reaches {peak:.6g}, more than the {LIMIT:g} that fp16 can hold; leave fp16 out of "
                "variants"
            )


def _peak(values: NDArray[np.float32]) -> float:
    return float(np.abs(values[values > MASK]).max(initial=0.0))


def _with_peaks(model: "onnx.ModelProto") -> tuple["onnx.ModelProto", dict[str, str]]:
    """Return a graph whose outputs are the largest magnitude of each fp32 value, and the value that each is of."""
    import onnx
    from onnx import helper, numpy_helper

    inferred = onnx.shape_inference.infer_shapes(model).graph
    typed = (*inferred.value_info, *inferred.output)
    floats = {value.name for value in typed if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    computed = [name for node in model.graph.node for name in node.output if name in floats]
    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.output[:]
    for name, value in (("mask", MASK), ("hidden", 0.0)):
        graph.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"peaks {name}"))
    names = {f"{name} peak": name for name in computed}
    for peak, name in names.items():
        graph.graph.node.extend(
            [
                helper.make_node("Greater", [name, "peaks mask"], [f"{peak} seen"]),
                helper.make_node("Where", [f"{peak} seen", name, "peaks hidden"], [f"{peak} values"]),
                helper.make_node("Abs", [f"{peak} values"], [f"{peak} sizes"]),
                helper.make_node("ReduceMax", [f"{peak} sizes"], [peak], keepdims=0),
            ]
        )
        graph.graph.output.append(helper.make_tensor_value_info(peak, onnx.TensorProto.FLOAT, []))
    return graph, names
