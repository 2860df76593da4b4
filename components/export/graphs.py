"""Reading an ONNX model whole, and edits of its graph that change nothing of what it computes.

A graph is a list of nodes in topological order, and each name in it is given once: a graph inside a node, such as the
branch of an ``If``, sees the names around it and gives none of them again. ONNX demands both.
"""

import itertools
import string
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    import onnx

FIRST, REST = string.ascii_letters, string.ascii_letters + string.digits  # of a short name: a C identifier
MOVING = ("Cast", "DequantizeLinear", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def load_external_data(model: "onnx.ModelProto", directory: Path) -> None:
    """Read into a model the tensors that it keeps in files of their own.

    Args:
        model: The model, as read without them.
        directory: Where it lies; its tensors may lie nowhere else.

    Raises:
        UserError: A file is missing, short, or elsewhere.
    """
    from onnx import external_data_helper

    for tensor in external_tensors(model):
        entry = {item.key: item.value for item in tensor.external_data}
        file = directory / entry.get("location", "")
        if not file.resolve().is_relative_to(directory.resolve()):
            raise UserError(f"{file}: weight {tensor.name!r} must lie in the directory of its model, {directory}")
        end = int(entry.get("offset") or 0) + int(entry.get("length") or 0)
        if not file.is_file() or file.stat().st_size < end:
            raise UserError(f"{file}: is missing or cut short; weight {tensor.name!r} lies there")
        external_data_helper.load_external_data_for_tensor(tensor, str(directory))
        tensor.data_location = type(tensor).DEFAULT
        del tensor.external_data[:]


def external_tensors(model: "onnx.ModelProto") -> list["onnx.TensorProto"]:
    """Return the tensors of a model whose values lie in a file and were not read."""
    return [tensor for tensor in _tensors(model.graph) if tensor.data_location == type(tensor).EXTERNAL]


def _tensors(graph: "onnx.GraphProto") -> Iterator["onnx.TensorProto"]:
    yield from graph.initializer
    for node in graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.HasField("t"))
        for inner in subgraphs(node):
            yield from _tensors(inner)


def subgraphs(node: "onnx.NodeProto") -> Iterator["onnx.GraphProto"]:
    """Yield the graphs that a node holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def inputs(node: "onnx.NodeProto") -> Iterator[str]:
    """Yield the names that a node reads, itself or in the graphs that it holds."""
    yield from node.input
    for inner in subgraphs(node):
        for inner_node in inner.node:
            yield from inputs(inner_node)


def all_names(graph: "onnx.GraphProto") -> set[str]:
    """Return every name that a graph or one inside it gives or reads."""
    names = {value.name for value in (*graph.input, *graph.initializer, *graph.output)}
    for node in graph.node:
        names.update(node.input, node.output)
        for inner in subgraphs(node):
            names |= all_names(inner)
    return names


def results(graph: "onnx.GraphProto") -> set[str]:
    """Return the names of the outputs of a graph."""
    return {value.name for value in graph.output}


def rename_inputs(graph: "onnx.GraphProto", names: Mapping[str, str]) -> None:
    """Make every node, in inner graphs too, read another name in place of some."""
    if not names:
        return
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = names[name]
        for inner in subgraphs(node):
            rename_inputs(inner, names)


def drop_unused(graph: "onnx.GraphProto") -> None:
    """Remove, in inner graphs too, nodes whose results nobody reads, and initializers that no node reads."""
    read = results(graph)
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if read.isdisjoint(node.output):
            del graph.node[place]
            continue
        for inner in subgraphs(node):
            drop_unused(inner)
        read.update(inputs(node))
    for place in reversed(range(len(graph.initializer))):
        if graph.initializer[place].name not in read:
            del graph.initializer[place]


def constants(graph: "onnx.GraphProto", outer: Collection[str] = ()) -> set[str]:
    """Return the names of the constants of a graph, those behind operators that only move or convert values too.

    Args:
        graph: The graph.
        outer: Names of constants around it.
    """
    known = {tensor.name for tensor in graph.initializer} | set(outer)
    for node in graph.node:
        if node.op_type == "Constant" or (node.op_type in MOVING and node.input[0] in known):
            known.update(node.output)
    return known


def as_matmuls(graph: "onnx.GraphProto") -> None:
    """Replace each ``Gemm`` with a stored weight, as linear layers on matrices become, by ``MatMul`` and ``Add``."""
    from onnx import helper, numpy_helper

    stored = {tensor.name: tensor for tensor in graph.initializer}
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in stored:
            continue
        weight = node.input[1]
        if settings.get("transB", 0):
            weight = f"{node.input[1]} transposed"
            if weight not in stored:
                turned = numpy_helper.to_array(stored[node.input[1]]).T
                graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(turned), weight))
                stored[weight] = graph.initializer[-1]
        bias = [name for name in node.input[2:] if name]
        product = f"{node.output[0]} product" if bias else node.output[0]
        nodes = [helper.make_node("MatMul", [node.input[0], weight], [product], name=node.name)]
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], [node.output[0]], name=f"{node.name} bias"))
        del graph.node[place]
        for new in reversed(nodes):
            graph.node.insert(place, new)


def strip_annotations(model: "onnx.ModelProto") -> None:
    """Drop stack traces, doc strings and inferred shapes, which exporters leave and nothing needs."""
    del model.metadata_props[:]
    model.ClearField("doc_string")  # set to an empty string, it would still take two bytes
    _strip(model.graph)


def _strip(graph: "onnx.GraphProto") -> None:
    del graph.value_info[:], graph.quantization_annotation[:], graph.metadata_props[:]
    graph.ClearField("doc_string")
    for tensor in graph.initializer:
        tensor.ClearField("doc_string")
        del tensor.metadata_props[:]
    for node in graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
        for inner in subgraphs(node):
            _strip(inner)


def shorten_names(model: "onnx.ModelProto") -> None:
    """Give everything but the model's inputs and outputs a name of a letter or a few, and nodes none."""
    fixed = results(model.graph) | {value.name for value in model.graph.input} | {""}
    lengths = (itertools.product(FIRST, *([REST] * more)) for more in itertools.count())
    short = (name for names in lengths for name in map("".join, names) if name not in fixed)
    renamed: dict[str, str] = {}

    def new(name: str) -> str:
        if name in fixed:
            return name
        if name not in renamed:
            renamed[name] = next(short)
        return renamed[name]

    _rename(model.graph, new)


def _rename(graph: "onnx.GraphProto", new: Callable[[str], str]) -> None:
    for value in (*graph.input, *graph.initializer, *graph.output):
        value.name = new(value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = new(sparse.values.name)
    for node in graph.node:
        node.ClearField("name")
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = new(name)
        for inner in subgraphs(node):
            _rename(inner, new)
