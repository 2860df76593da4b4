"""Storing each distinct weight of an ONNX graph once.

ALBERT uses one layer twelve times. Depending on exporter and optimiser its graph holds that layer once, twelve times,
or once with eleven ``Identity`` aliases that hide it from the quantiser, which then leaves nine tenths of the model in
fp32 without a word. Here constants become initializers, aliases go, and initializers of equal type, shape and bytes
become one: in time linear in the bytes, by hash, where comparing pairs is quadratic. The graph computes exactly what
it did.

Comparing ``raw_data`` alone is not enough. It is empty where values are stored as ``float_data`` or ``int64_data``, as
quantisers do, and where they lie in a file of their own; and the same bytes of another type or shape are another value.
"""

import hashlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.export.graphs import (
    all_names,
    drop_unused,
    external_tensors,
    load_external_data,
    rename_inputs,
    results,
    shorten_names,
    strip_annotations,
    subgraphs,
)

if TYPE_CHECKING:
    import onnx

SMALLEST = 1024  # bytes of a weight that is worth an operator of its own


def share_weights(model: "onnx.ModelProto", directory: Path | None = None) -> int:
    """Share equal weights of a model in place, and drop what no node reads.

    Weights of inner graphs are shared with those around them. What a caller may override, an initializer that is an
    input too, stays apart.

    Args:
        model: The model.
        directory: Where it lies, when some of its weights are in files of their own: they are read from there alone.

    Returns:
        Bytes of repeated and unused weights that are no longer stored.

    Raises:
        UserError: A file with weights is missing, short, or elsewhere.
        ValueError: Weights in files were not read and no directory was given.
    """
    if directory:
        load_external_data(model, directory)
    if unread := external_tensors(model):
        raise ValueError(f"weight {unread[0].name!r} lies in a file of its own: name the directory of the model")
    graph = model.graph
    if model.ir_version < 4:  # which listed every weight among the inputs
        _inputs_to_initializers(model)
    taken = all_names(graph)
    fresh = (name for name in (f"weight {number}" for number in itertools.count()) if name not in taken)
    _collect_weights(graph, graph, fresh)
    before = _stored_bytes(graph)
    _resolve_aliases(graph, {tensor.name for tensor in graph.initializer})
    rename_inputs(graph, _equal_initializers(graph))
    drop_unused(graph)
    strip_annotations(model)
    return before - _stored_bytes(graph)


def derive_copies(model: "onnx.ModelProto") -> int:
    """Store a weight that is another one transposed or reshaped as an operator on that one, in place.

    The runtime applies the operator when it loads the model. A quantiser does not see a weight behind one, so this is
    for graphs that are finished.

    Args:
        model: The model, its equal weights shared.

    Returns:
        Bytes of weights that are no longer stored.
    """
    graph = model.graph
    before = _stored_bytes(graph)
    fixed = results(graph) | {value.name for value in graph.input}
    large = [tensor for tensor in graph.initializer if _is_array(tensor) and _array(tensor).nbytes >= SMALLEST]
    shapes = Counter((tensor.data_type, *tensor.dims) for tensor in large)
    first: dict[tuple[int, bytes], onnx.TensorProto] = {}
    derived: set[str] = set()
    for tensor in large:
        node = None if tensor.name in fixed else _derivation(graph, tensor, first, shapes)
        if node:
            graph.node.insert(0, node)
            derived.add(tensor.name)
        else:
            first.setdefault((tensor.data_type, _digest(_array(tensor))), tensor)
    _remove_initializers(graph, derived)
    return before - _stored_bytes(graph)


def compact(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the smallest form of a graph that is finished: derived copies computed, names of a letter or two."""
    import onnx

    small = onnx.ModelProto()
    small.CopyFrom(model)
    derive_copies(small)
    shorten_names(small)
    return small


def _derivation(
    graph: "onnx.GraphProto",
    tensor: "onnx.TensorProto",
    first: Mapping[tuple[int, bytes], "onnx.TensorProto"],
    shapes: Mapping[tuple[int, ...], int],
) -> "onnx.NodeProto | None":
    """Return the operator that computes a tensor from an earlier one, if one does."""
    from onnx import helper, numpy_helper

    array, kind, dims = _array(tensor), tensor.data_type, list(tensor.dims)
    if twin := first.get((kind, _digest(array))):
        shape = f"{tensor.name} shape"
        graph.initializer.append(numpy_helper.from_array(np.array(dims, dtype=np.int64), shape))
        return helper.make_node("Reshape", [twin.name, shape], [tensor.name])
    if len(dims) == 2 and shapes[kind, dims[1], dims[0]] > (dims[0] == dims[1]):
        twin = first.get((kind, _digest(array.T)))
        if twin and list(twin.dims) == dims[::-1]:
            return helper.make_node("Transpose", [twin.name], [tensor.name])
    return None


def _inputs_to_initializers(model: "onnx.ModelProto") -> None:
    stored = {tensor.name for tensor in model.graph.initializer}
    for place in reversed(range(len(model.graph.input))):
        if model.graph.input[place].name in stored:
            del model.graph.input[place]
    model.ir_version = 4


def _collect_weights(graph: "onnx.GraphProto", outer: "onnx.GraphProto", fresh: Iterator[str]) -> None:
    """Make constants initializers, and move those of inner graphs to the outermost one, under fresh names."""
    fixed, renamed = results(graph) | {value.name for value in graph.input}, {}
    constants = [
        place
        for place, node in enumerate(graph.node)
        if node.op_type == "Constant" and node.attribute[0].name == "value" and node.output[0] not in fixed
    ]
    for place in constants:
        tensor = outer.initializer.add()
        tensor.CopyFrom(graph.node[place].attribute[0].t)
        tensor.name = renamed[graph.node[place].output[0]] = next(fresh)
    for place in reversed(constants):
        del graph.node[place]
    if graph is not outer:
        inner = {tensor.name for tensor in graph.initializer} - fixed
        for tensor in graph.initializer:
            if tensor.name in inner:
                moved = outer.initializer.add()
                moved.CopyFrom(tensor)
                moved.name = renamed[tensor.name] = next(fresh)
        _remove_initializers(graph, inner)
    rename_inputs(graph, renamed)
    for node in graph.node:
        for inner_graph in subgraphs(node):
            _collect_weights(inner_graph, outer, fresh)


def _resolve_aliases(graph: "onnx.GraphProto", stored: set[str]) -> None:
    """Make readers of an ``Identity`` of a weight read the weight; the node itself is left without readers."""
    aliases: dict[str, str] = {}
    for node in graph.node:  # sorted topologically, so an alias of an alias finds its target
        if node.op_type == "Identity" and node.output[0] not in results(graph):
            target = aliases.get(node.input[0], node.input[0])
            if target in stored:
                aliases[node.output[0]] = target
    rename_inputs(graph, aliases)
    for node in graph.node:
        for inner in subgraphs(node):
            _resolve_aliases(inner, stored)


def _equal_initializers(graph: "onnx.GraphProto") -> dict[str, str]:
    """Return, for each initializer that repeats an earlier one, the name of the earlier one."""
    fixed = results(graph) | {value.name for value in graph.input}
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    repeats: dict[str, str] = {}
    for tensor in graph.initializer:
        if _is_array(tensor) and tensor.name not in fixed:
            key = (tensor.data_type, tuple(tensor.dims), _digest(_array(tensor)))
            name = first.setdefault(key, tensor.name)
            if name != tensor.name:
                repeats[tensor.name] = name
    return repeats


def _remove_initializers(graph: "onnx.GraphProto", names: set[str]) -> None:
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name in names:
            del graph.initializer[place]


def _stored_bytes(graph: "onnx.GraphProto") -> int:
    """Return the bytes of the values of all initializers; asking the model for its size would serialise it."""
    from onnx import helper

    arrays = filter(_is_array, graph.initializer)
    return sum(math.prod(t.dims) * helper.tensor_dtype_to_np_dtype(t.data_type).itemsize for t in arrays)


def _is_array(tensor: "onnx.TensorProto") -> bool:
    return tensor.data_type != type(tensor).STRING


def _array(tensor: "onnx.TensorProto") -> NDArray[Any]:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _digest(array: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()
