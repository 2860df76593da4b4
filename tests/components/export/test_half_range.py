"""What fp16 cannot hold is found where fp32 computes it."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kfp_textclf.components.common.encoding import Encoded
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.export.half_range import check_half_range

ENCODER: Any = SimpleNamespace(encode=lambda texts: Encoded([[len(text)] for text in texts], 0, 0.0))  # a text's length
LOWEST = np.finfo(np.float32).min


def scaled(factor: float, added: float = 0.0) -> onnx.ModelProto:
    """Return a graph that multiplies its input with a number, adds another, and takes the softmax."""
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "added"], ["sum"]),
        helper.make_node("Softmax", ["sum"], ["logits"]),
    ]
    values = [
        helper.make_tensor_value_info(name, kind, ["batch", "sequence"])
        for name, kind in (
            ("input_ids", TensorProto.INT64),
            ("attention_mask", TensorProto.INT64),
            ("logits", TensorProto.FLOAT),
        )
    ]
    stored = {"factor": factor, "added": [added]}
    tensors = [numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", values[:2], values[2:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("sign", [1, -1])
def test_value_that_one_text_makes_too_large_is_named(sign: int) -> None:
    check_half_range(scaled(sign * 6550.0), ENCODER, ["x", "x" * 10])
    with pytest.raises(
        UserError, match=r"^fp16: 'scaled' reaches 72050, more than the 65504 that fp16 can hold; leave"
    ):
        check_half_range(scaled(sign * 6550.0), ENCODER, ["x", "x" * 11])


@pytest.mark.parametrize("value", [65536.0, -65536.0, np.inf])
def test_weight_that_is_too_large_is_named(value: float) -> None:
    graph = scaled(1.0, value)
    graph.graph.node[2].op_type = "Div"  # by a large number: no value is large
    with pytest.raises(UserError, match=r"^fp16: 'added' reaches (65536|inf), more than the 65504"):
        check_half_range(graph, ENCODER, ["x"])


def test_mask_of_attention_is_not_counted() -> None:
    check_half_range(scaled(1.0, float(LOWEST)), ENCODER, ["x"])
    check_half_range(scaled(float(LOWEST)), ENCODER, ["x"])


def test_value_that_is_no_number_is_named() -> None:
    with pytest.raises(UserError, match="'scaled' reaches inf"):
        check_half_range(scaled(float(np.finfo(np.float32).max)), ENCODER, ["xx"])
