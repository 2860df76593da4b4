"""Storing each distinct weight of an ONNX graph once.

ALBERT uses one layer twelve times. Depending on exporter and optimiser its graph holds that layer once, twelve times,
or once with eleven ``Identity`` aliases that hide it from the quantiser, which then leaves nine tenths of the model in
fp32 without a word. Here constants become initializers, aliases go, and initializers of equal type, shape and bytes
become
one: in time linear in the bytes, by hash, where comparing pairs is quadratic. The graph computes exactly what it did.
"""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def share_weights(model: "onnx.ModelProto") -> int:
    """Share equal weights of a model in place, and drop what no node reads.

    Args:
        model: The model, with external data loaded.

    Returns:
        By how many bytes the model is smaller.
    """
    before = model.ByteSize()
    _constants_to_initializers(model.graph)
    _rename_inputs(model.graph, _identity_aliases(model.graph))
    _rename_inputs(model.graph, _equal_initializers(model.graph))
    _drop_unused(model.graph)
    _strip_annotations(model)
    _shorten_names(model.graph)
    return before - model.ByteSize()


def _constants_to_initializers(graph: "onnx.GraphProto") -> None:
    for node in [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
        tensor = graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.node.remove(node)


def _identity_aliases(graph: "onnx.GraphProto") -> dict[str, str]:
    """Return, for each ``Identity`` of a weight, the name of the weight; the node itself is left without readers."""
    stored = {tensor.name for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    aliases: dict[str, str] = {}
    for node in graph.node:  # sorted topologically, so an alias of an alias finds its target
        if node.op_type == "Identity" and node.output[0] not in results:
            target = aliases.get(node.input[0], node.input[0])
            if target in stored:
                aliases[node.output[0]] = target
    return aliases


def _equal_initializers(graph: "onnx.GraphProto") -> dict[str, str]:
    """Return, for each initializer that repeats an earlier one, the name of the earlier one."""
    import onnx
    from onnx import numpy_helper

    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    repeats: dict[str, str] = {}
    results = {value.name for value in graph.output}
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.STRING or tensor.name in results:
            continue
        # The bytes come from the array, not from raw_data, which is empty when values are stored as float_data or
        # int64_data.
        digest = hashlib.blake2b(numpy_helper.to_array(tensor).tobytes()).digest()
        name = first.setdefault((tensor.data_type, tuple(tensor.dims), digest), tensor.name)
        if name != tensor.name:
            repeats[tensor.name] = name
    return repeats


def _drop_unused(graph: "onnx.GraphProto") -> None:
    """Remove nodes whose results nobody reads, then initializers that no node reads."""
    results = {value.name for value in graph.output}
    while True:
        read = set(_inputs(graph)) | results
        unused = [node for node in graph.node if not read.intersection(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _strip_annotations(model: "onnx.ModelProto") -> None:
    """Drop stack traces, doc strings and inferred shapes, which exporters leave and nothing needs."""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.ClearField("doc_string")  # set to an empty string, it would still take two bytes
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]


def _shorten_names(graph: "onnx.GraphProto") -> None:
    results = {value.name for value in graph.output} | {value.name for value in graph.input}
    taken = results | {name for node in graph.node for name in node.output}
    names = (name for name in (f"w{number}" for number in range(10**9)) if name not in taken)
    renamed = {tensor.name: next(names) for tensor in graph.initializer if tensor.name not in results}
    for tensor in graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    _rename_inputs(graph, renamed)


def _rename_inputs(graph: "onnx.GraphProto", names: dict[str, str]) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for subgraph in _subgraphs(node):
            _rename_inputs(subgraph, names)


def _inputs(graph: "onnx.GraphProto") -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for subgraph in _subgraphs(node):
            yield from _inputs(subgraph)


def _subgraphs(node: "onnx.NodeProto") -> Iterator["onnx.GraphProto"]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
