"""Making an exported graph compute less of what is known before: constants, and the shapes of reshaped values."""

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_textclf.components.export.graphs import drop_unused
from kfp_textclf.components.export.shared_weights import share_weights

if TYPE_CHECKING:
    import onnx

Dim = int | str  # of a shape: a number, or the name of one that a caller chooses


def fold_constants(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the graph with constant expressions computed, by onnxruntime's portable (BASIC) optimisations.

    A graph that is larger for it stays as it is: the runtime does the same when it loads the model. The shapes of
    reshaped values become constants too, where all but one dimension are known or those of what is reshaped: exporters
    compute them by some nodes in each layer, which a single short text waits for.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "target.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(target)
    share_weights(folded)
    smallest = min(folded, model, key=lambda graph: graph.ByteSize())
    return min(_with_constant_shapes(smallest), smallest, key=lambda graph: graph.ByteSize())


def _with_constant_shapes(source: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx
    from onnx import numpy_helper

    model = onnx.ModelProto()
    model.CopyFrom(source)
    known = _inferred_shapes(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Reshape" or node.input[1] in stored:
            continue
        shape = constant_shape(known.get(node.input[0]), known.get(node.output[0]))
        if shape:
            node.input[1] = f"{node.output[0]} shape"
            model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), node.input[1]))
    drop_unused(model.graph)
    share_weights(model)
    return model


def constant_shape(given: list[Dim] | None, wanted: list[Dim] | None) -> list[int] | None:
    """Return a shape as ``Reshape`` takes it: 0 for a dimension that stays, -1 for the one that follows from the rest.

    Args:
        given: Shape of what is reshaped; None if it is unknown.
        wanted: Shape of the result; None if it is unknown.

    Returns:
        The shape; None when it depends on more than that.
    """
    if given is None or wanted is None:
        return None
    shape = [dim if isinstance(dim, int) else 0 if [dim] == given[i : i + 1] else -1 for i, dim in enumerate(wanted)]
    return shape if shape.count(-1) < 2 and 0 not in wanted else None


def _inferred_shapes(model: "onnx.ModelProto") -> dict[str, list[Dim]]:
    """Return the shapes of the values of a graph, as far as onnxruntime can tell them."""
    from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

    try:
        # It leaves the model in the working directory when it does not come to an end.
        with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
            inferred: Any = SymbolicShapeInference.infer_shapes(model, auto_merge=True)
    except Exception as error:  # bare ones, of operators that it knows nothing of
        print(f"the graph's shapes stay computed: {error}", flush=True)
        return {}
    graph = inferred.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: [dim.dim_param or dim.dim_value for dim in v.type.tensor_type.shape.dim] for v in values}
