"""Storing each weight of a graph once, without changing what the graph computes."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from baselines.export import pairwise_deduplicated
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.export.shared_weights import compact, derive_copies, share_weights

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
    assert saved >= 0
    assert copy.ByteSize() <= size
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
        helper.make_node("MatMul", ["x", "b"], ["a"], name="first"),
        helper.make_node("MatMul", ["x", "long.name"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["y"]),
    ]
    graph = model(nodes, [tensor("b", W), tensor("long.name", W + 1)], {"y": ["rows", "columns"]})
    small = compact(graph)
    onnx.checker.check_model(small)
    np.testing.assert_array_equal(answers(small)[0], answers(graph)[0])
    assert small.ByteSize() < graph.ByteSize()
    assert {len(name) for node in small.graph.node for name in (*node.input, *node.output)} == {1}
    assert compact(small) == small


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=8))
def test_as_many_weights_stay_as_there_are_values(kinds: list[int]) -> None:
    weights = [tensor(f"weight{place}", W + kind) for place, kind in enumerate(kinds)]
    nodes = [helper.make_node("MatMul", ["x", w.name], [f"y{place}"]) for place, w in enumerate(weights)]
    nodes.append(helper.make_node("Sum", [f"y{place}" for place in range(len(kinds))], ["y"]))
    assert len(shared(model(nodes, weights, {"y": ["rows", "columns"]})).graph.initializer) == len(set(kinds))


def derived(graph: onnx.ModelProto, **feed: np.ndarray) -> list[str]:
    """Derive copies; assert that the graph is valid, no larger, and answers the same bits; return the operators."""
    before, size = answers(graph, **feed), graph.ByteSize()
    saved = derive_copies(graph)
    onnx.checker.check_model(graph)
    assert saved >= 0
    assert graph.ByteSize() <= size
    for old, new in zip(before, answers(graph, **feed), strict=True):
        np.testing.assert_array_equal(old, new)
    return [node.op_type for node in graph.graph.node]


LARGE = np.random.default_rng(0).normal(size=(3, 200)).astype(np.float32)


def tied(stored: np.ndarray, node: str, weight: str = "decoder") -> onnx.ModelProto:
    """Return a model that looks rows up in an embedding of shape (200, 3) and multiplies with another tensor."""
    nodes = [
        helper.make_node("Gather", ["embedding", "rows"], ["looked up"]),
        helper.make_node(node, ["looked up", weight], ["y"]),
    ]
    rows = tensor("rows", np.array([3, 1]))
    return model(nodes, [tensor("embedding", LARGE.T.copy()), tensor(weight, stored), rows], {"y": ["r", "c"]})


def test_tied_embedding_is_stored_once_and_transposed() -> None:
    graph = tied(LARGE, "MatMul")
    assert derived(graph) == ["Transpose", "Gather", "MatMul"]
    assert len(graph.graph.initializer) == 2


def test_square_weight_and_its_transposed_copy_are_stored_once() -> None:
    square = np.random.default_rng(1).normal(size=(20, 20)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["ab"]),
        helper.make_node("ReduceSum", ["ab"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["x", "sum"], ["y"]),
    ]
    graph = model(nodes, [tensor("a", square), tensor("b", square.T.copy())], {"y": ["r", "c"]})
    assert derived(graph) == ["Transpose", "MatMul", "ReduceSum", "Mul"]


def test_reshaped_copy_is_stored_once() -> None:
    nodes = [
        helper.make_node("ReduceMax", ["flat"], ["most"], keepdims=0),
        helper.make_node("MatMul", ["x", "weight"], ["a"]),
        helper.make_node("Mul", ["a", "most"], ["y"]),
    ]
    graph = model(nodes, [tensor("weight", LARGE), tensor("flat", LARGE.ravel())], {"y": ["r", "c"]})
    assert derived(graph) == ["Reshape", "ReduceMax", "MatMul", "Mul"]


def test_operator_is_not_worth_a_small_copy() -> None:
    assert "Transpose" not in derived(two_matmuls(tensor("one", W), tensor("two", W + 1)))
    square = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert "Transpose" not in derived(two_matmuls(tensor("one", square), tensor("two", square.T.copy())))


def test_unequal_weight_of_the_same_bytes_in_another_order_stays() -> None:
    graph = tied(np.ascontiguousarray(LARGE[:, ::-1]), "MatMul")
    assert derived(graph) == ["Gather", "MatMul"]


@pytest.mark.parametrize("sign", [1, -1])
def test_constants_of_branches_are_shared_with_the_graph_around(sign: int) -> None:
    """Both branches give the same name to different constants, which only scopes keep apart."""
    graph = branches(
        [
            helper.make_node("Constant", [], ["c"], value=tensor("ignored", W)),
            helper.make_node("Identity", ["c"], ["alias"]),
            helper.make_node("MatMul", ["x", "alias"], ["then"]),
        ],
        [
            helper.make_node("Constant", [], ["c"], value=tensor("ignored", W[:1] + 1)),
            helper.make_node("Neg", ["c"], ["else"]),
        ],
        "then",
        "else",
    )
    branch = graph.graph.node[2].attribute[0].g
    branch.initializer.append(tensor("own", W))
    branch.node.append(helper.make_node("MatMul", ["x", "own"], ["nobody reads"]))
    x = (sign * (np.abs(X) + 1)).astype(np.float32)
    result = shared(graph, x=x)
    assert len(result.graph.initializer) == 3, "the weight, the other branch's constant, zero"
    for old, new in zip(answers(graph, x=x), answers(compact(result), x=x), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weight_that_a_caller_may_override_stays_apart() -> None:
    graph = two_matmuls(tensor("one", W), tensor("two", W))
    graph.graph.input.append(helper.make_tensor_value_info("two", TensorProto.FLOAT, [3, 4]))
    result = shared(graph)
    assert len(result.graph.initializer) == 2
    np.testing.assert_array_equal(answers(result, two=W + 1)[0], answers(graph, two=W + 1)[0])


def test_old_model_that_lists_weights_among_its_inputs_is_shared() -> None:
    graph = two_matmuls(tensor("one", W), tensor("two", W))
    graph.ir_version, graph.opset_import[0].version = 3, 8
    for name in ("one", "two"):
        graph.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 4]))
    result = shared(graph)
    assert len(result.graph.initializer) == 1
    assert [value.name for value in result.graph.input] == ["x"]


def external(path: Path, graph: onnx.ModelProto) -> onnx.ModelProto:
    """Store the weights of a model in a file beside it; return the model without them."""
    onnx.save(graph, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return onnx.load(path, load_external_data=False)


def test_weights_in_a_file_of_their_own_are_read_and_shared(tmp_path: Path) -> None:
    graph = two_matmuls(tensor("one", W), tensor("two", W + 1))
    unread = external(tmp_path / "model.onnx", two_matmuls(tensor("one", W), tensor("two", W + 1)))
    share_weights(unread, tmp_path)
    np.testing.assert_array_equal(answers(unread)[0], answers(graph)[0])
    assert len(unread.graph.initializer) == 2
    twins = external(tmp_path / "twins.onnx", two_matmuls(tensor("one", W), tensor("two", W)))
    share_weights(twins, tmp_path)
    assert len(twins.graph.initializer) == 1


def test_comparing_raw_data_alone_corrupts_a_graph_with_weights_elsewhere(tmp_path: Path) -> None:
    """The tutorial's way: both weights have no raw data, so they are equal, and one answers for both."""
    path = tmp_path / "model.onnx"
    graph = external(path, two_matmuls(tensor("one", W), tensor("two", W + 1)))
    wanted = answers(onnx.load(path))[0]
    assert pairwise_deduplicated(graph) == 1
    onnx.save(graph, path)
    assert np.abs(answers(onnx.load(path))[0] - wanted).max() > 1


def test_weights_elsewhere_are_never_taken_for_empty(tmp_path: Path) -> None:
    graph = external(tmp_path / "model.onnx", two_matmuls(tensor("one", W), tensor("two", W + 1)))
    with pytest.raises(ValueError, match="'one' lies in a file of its own"):
        share_weights(graph)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "inside/../../secret.bin", "link.bin"])
def test_weights_outside_the_directory_are_refused(tmp_path: Path, location: str) -> None:
    directory = tmp_path / "model"
    (directory / "inside").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (directory / "link.bin").symlink_to(tmp_path / "secret.bin")
    graph = external(directory / "model.onnx", two_matmuls(tensor("one", W), tensor("two", W)))
    graph.graph.initializer[0].external_data[0].value = location
    with pytest.raises(UserError, match="must lie in the directory of its model"):
        share_weights(graph, directory)


@pytest.mark.parametrize("size", [None, 0, 47])
def test_missing_or_short_file_of_weights_is_refused(tmp_path: Path, size: int | None) -> None:
    graph = external(tmp_path / "model.onnx", two_matmuls(tensor("one", W), tensor("two", W)))
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").unlink()
    if size is not None:
        (tmp_path / "weights.bin").write_bytes(content[:size])
    with pytest.raises(UserError, match=r"weights\.bin: is missing or cut short"):
        share_weights(graph, tmp_path)
