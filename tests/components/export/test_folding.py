"""What is known before a text comes is not computed for each."""

from pathlib import Path

import pytest
from architectures import random_model

from kfp_textclf.components.common.first_token import FAMILIES
from kfp_textclf.components.export import folding
from kfp_textclf.components.export.folding import constant_shape, fold_constants
from kfp_textclf.components.export.shared_weights import share_weights
from kfp_textclf.components.export.torch_export import to_onnx


def operators(name: str) -> tuple[list[str], int]:
    """Return the operators of a family's folded graph, and how many of them reshape by a computed shape."""
    model = to_onnx(random_model(name), 17)
    share_weights(model)
    graph = fold_constants(model).graph
    stored = {tensor.name for tensor in graph.initializer}
    computed = [node for node in graph.node if node.op_type == "Reshape" and node.input[1] not in stored]
    return [node.op_type for node in graph.node], len(computed)


@pytest.mark.parametrize("name", [*FAMILIES, "distilbert"])
def test_shapes_and_the_mask_are_not_computed_in_each_layer(name: str) -> None:
    found, computed = operators(name)
    assert found.count("Reshape") >= 8
    assert computed == 0
    assert found.count("Shape") <= 1
    assert not {"Expand", "Where", "Range"} & set(found)


def test_graph_whose_shapes_cannot_be_told_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:
    def fail(*_: object, **__: object) -> None:
        Path("sym_shape_infer_temp.onnx").write_text("what onnxruntime leaves behind")
        raise RuntimeError("knows no such operator")

    monkeypatch.setattr("onnxruntime.tools.symbolic_shape_infer.SymbolicShapeInference.infer_shapes", fail)
    monkeypatch.chdir(tmp_path)
    _, computed = operators("bert")
    assert computed == 8
    assert not list(tmp_path.iterdir())
    assert "shapes stay computed: knows no such operator" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "wanted", "shape"),
    [
        (["b", "s", 384], ["b", "s", 12, 32], [0, 0, 12, 32]),
        (["b", "s", 12, 32], ["b", "s", 384], [0, 0, 384]),
        (["b", "s"], ["b*s"], [-1]),
        (["b", "s", 8], ["s", "b", 8], None),
        (["b", "s"], ["s", 2], [-1, 2]),
        ([3, 4], [12], [12]),
        (["b", 0], ["b", 0, 2], None),
        (None, ["b"], None),
        (["b"], None, None),
    ],
)
def test_shape_is_constant_where_one_dimension_at_most_is_unknown(given, wanted, shape) -> None:
    assert constant_shape(given, wanted) == shape


def test_inferred_shapes_name_what_a_caller_chooses() -> None:
    model = to_onnx(random_model("bert"), 17)
    assert folding._inferred_shapes(model)["input_ids"] == ["batch", "sequence"]
