"""Storing each weight of a graph once, without changing what the graph computes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kfp_textclf.components.export.shared_weights import share_weights

W = np.arange(12, dtype=np.float32).reshape(3, 4)
X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)


def tensor(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values, name)


def model(nodes: list, weights: list[TensorProto], outputs: dict[str, list]) -> onnx.ModelProto:
    """Return a checked model from x, float32 of shape (n, 3), to float32 outputs of the given shapes."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        initializer=weights,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def answers(graph: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {"x": X, **feed})]


def shared(graph: onnx.ModelProto, **feed: np.ndarray) -> onnx.ModelProto:
    """Share the weights of a copy; assert that it is valid, no larger, and answers the same bits."""
    before, size = answers(graph, **feed), graph.ByteSize()
    copy = onnx.ModelProto.FromString(graph.SerializeToString())
    saved = share_weights(copy)
    onnx.checker.check_model(copy)
    for old, new in zip(before, answers(copy, **feed), strict=True):
        np.testing.assert_array_equal(old, new)
    assert saved == size - copy.ByteSize() >= 0
    again = copy.SerializeToString()
    assert share_weights(copy) == 0, "sharing twice finds nothing more"
    assert copy.SerializeToString() == again
    return copy


def two_matmuls(first: TensorProto, second: TensorProto) -> onnx.ModelProto:
    nodes = [
        helper.make_node("MatMul", ["x", first.name], ["a"]),
        helper.make_node("MatMul", ["x", second.name], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    return model(nodes, [first, second], {"y": ["rows", "columns"]})


def test_equal_weights_are_stored_once() -> None:
    assert len(shared(two_matmuls(tensor("one", W), tensor("two", W))).graph.initializer) == 1


def test_different_weights_stay_apart() -> None:
    assert len(shared(two_matmuls(tensor("one", W), tensor("two", W + 1))).graph.initializer) == 2


def test_negative_zero_is_another_value() -> None:
    zero = np.zeros_like(W)
    assert len(shared(two_matmuls(tensor("one", zero), tensor("two", -zero))).graph.initializer) == 2


def test_identity_of_a_weight_goes() -> None:
    nodes = [
        helper.make_node("Identity", ["weight"], ["alias"]),
        helper.make_node("Identity", ["alias"], ["alias2"]),
        helper.make_node("MatMul", ["x", "alias"], ["a"]),
        helper.make_node("MatMul", ["x", "alias2"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    result = shared(model(nodes, [tensor("weight", W)], {"y": ["rows", "columns"]}))
    assert [node.op_type for node in result.graph.node] == ["MatMul", "MatMul", "Add"]


def test_identity_of_a_computed_value_stays() -> None:
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["a"]), helper.make_node("Identity", ["a"], ["y"])]
    assert len(shared(model(nodes, [tensor("weight", W)], {"y": ["rows", "columns"]})).graph.node) == 2


def test_constants_become_weights_and_are_shared() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=tensor("ignored", W)),
        helper.make_node("MatMul", ["x", "c"], ["a"]),
        helper.make_node("MatMul", ["x", "weight"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    result = shared(model(nodes, [tensor("weight", W)], {"y": ["rows", "columns"]}))
    assert len(result.graph.initializer) == 1
    assert "Constant" not in {node.op_type for node in result.graph.node}


def test_constant_of_another_kind_stays() -> None:
    nodes = [helper.make_node("Constant", [], ["c"], value_float=2.0), helper.make_node("Mul", ["x", "c"], ["y"])]
    np.testing.assert_array_equal(answers(shared(model(nodes, [], {"y": ["rows", "columns"]})))[0], X * 2)


def test_same_bytes_of_another_type_or_shape_are_not_shared() -> None:
    bits = np.array([0, 1, 2, 3, 4, 5], dtype=np.float32)
    weights = [tensor("row", bits.reshape(1, 6)), tensor("flat", bits), tensor("ints", bits.view(np.int32))]
    nodes = [
        helper.make_node("ReduceSum", ["row"], ["r"], keepdims=0),
        helper.make_node("ReduceMax", ["flat"], ["f"], keepdims=0),
        helper.make_node("Cast", ["ints"], ["i"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["i"], ["s"], keepdims=0),
        helper.make_node("Sum", ["x", "r", "f", "s"], ["y"]),
    ]
    assert len(shared(model(nodes, weights, {"y": ["rows", "columns"]})).graph.initializer) == 3


def test_values_outside_raw_data_are_compared_by_value() -> None:
    """In such tensors raw_data is empty: comparing it would merge all of them."""
    weights = [
        helper.make_tensor("first", TensorProto.FLOAT, [3, 4], W.ravel()),
        helper.make_tensor("second", TensorProto.FLOAT, [3, 4], W.ravel() + 1),
        tensor("third", W),
    ]
    assert not weights[0].raw_data
    nodes = [helper.make_node("MatMul", ["x", w.name], [f"y{w.name}"]) for w in weights]
    nodes.append(helper.make_node("Sum", ["yfirst", "ysecond", "ythird"], ["y"]))
    assert len(shared(model(nodes, weights, {"y": ["rows", "columns"]})).graph.initializer) == 2


def test_integers_outside_raw_data_are_compared_by_value() -> None:
    weights = [
        helper.make_tensor(name, TensorProto.INT64, [2], shape) for name, shape in (("wide", [3, 2]), ("tall", [6, 1]))
    ]
    nodes = [
        helper.make_node("Reshape", ["x", "wide"], ["a"]),
        helper.make_node("Reshape", ["x", "tall"], ["b"]),
        helper.make_node("ReduceMax", ["a"], ["m"], keepdims=0),
        helper.make_node("Mul", ["b", "m"], ["y"]),
    ]
    assert len(shared(model(nodes, weights, {"y": ["rows", "columns"]})).graph.initializer) == 2


def test_weights_that_are_outputs_keep_their_names() -> None:
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"]), helper.make_node("Identity", ["weight"], ["copy"])]
    result = shared(
        model(nodes, [tensor("weight", W), tensor("out", W)], {"y": ["rows", "columns"], "out": [3, 4], "copy": [3, 4]})
    )
    assert [output.name for output in result.graph.output] == ["y", "out", "copy"]


def branches(then_nodes: list, else_nodes: list, then_out: str, else_out: str) -> onnx.ModelProto:
    def branch(nodes: list, output: str) -> onnx.GraphProto:
        return helper.make_graph(
            nodes, output, [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["c", "d"])]
        )

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["z"],
            then_branch=branch(then_nodes, then_out),
            else_branch=branch(else_nodes, else_out),
        ),
        helper.make_node("MatMul", ["x", "weight"], ["a"]),
        helper.make_node("Add", ["a", "z"], ["y"]),
    ]
    weights = [
        tensor("weight", W),
        tensor("twin", W),
        tensor("bias", W[:1]),
        tensor("zero", np.zeros((), dtype=np.float32)),
    ]
    return model(nodes, weights, {"y": ["rows", "columns"]})


@pytest.mark.parametrize("sign", [1, -1])
def test_branches_that_read_outer_weights_follow_the_renaming(sign: int) -> None:
    graph = branches(
        [helper.make_node("MatMul", ["x", "twin"], ["then"])],
        [helper.make_node("Add", ["bias", "bias"], ["else"])],
        "then",
        "else",
    )
    x = sign * (np.abs(X) + 1)
    result = shared(graph, x=x.astype(np.float32))
    assert len(result.graph.initializer) == 3, "w and twin are one"


@pytest.mark.parametrize("sign", [1, -1])
def test_weight_read_only_inside_a_branch_is_kept(sign: int) -> None:
    graph = branches(
        [helper.make_node("Identity", ["bias"], ["then"])],
        [helper.make_node("Neg", ["bias"], ["else"])],
        "then",
        "else",
    )
    shared(graph, x=(sign * (np.abs(X) + 1)).astype(np.float32))


def test_unused_weights_and_nodes_go() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "unused"], ["nobody"]),
        helper.make_node("Relu", ["nobody"], ["reads"]),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    result = shared(model(nodes, [tensor("weight", W), tensor("unused", W + 1)], {"y": ["rows", "columns"]}))
    assert (len(result.graph.node), len(result.graph.initializer)) == (1, 1)


def test_short_names_do_not_collide_with_names_in_use() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["w0"]),
        helper.make_node("MatMul", ["x", "long.name"], ["w2"]),
        helper.make_node("Add", ["w0", "w2"], ["y"]),
    ]
    shared(model(nodes, [tensor("w1", W), tensor("long.name", W + 1)], {"y": ["rows", "columns"]}))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_as_many_weights_stay_as_there_are_values(kinds: list[int]) -> None:
    weights = [tensor(f"weight{place}", W + kind) for place, kind in enumerate(kinds)]
    nodes = [helper.make_node("MatMul", ["x", w.name], [f"y{place}"]) for place, w in enumerate(weights)]
    nodes.append(helper.make_node("Sum", [f"y{place}" for place in range(len(kinds))], ["y"]))
    assert len(shared(model(nodes, weights, {"y": ["rows", "columns"]})).graph.initializer) == len(set(kinds))
