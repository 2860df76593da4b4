"""The search for the layers that int8 should leave in fp32."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.encoding import TextEncoder
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus
from kfp_textclf.components.export.quantisation import float_weights, quantise_int8

if TYPE_CHECKING:
    import onnx

RANKING_TEXTS = 128  # that layers are ranked by
WEIGHTS = {"MatMul": 1, "Gemm": 1, "Gather": 0}  # place of the weight among the inputs; of embeddings the first


def nodes_to_keep(
    graph: "onnx.ModelProto", encoder: TextEncoder, texts: Sequence[str], min_agreement: float
) -> list[str]:
    """Return the nodes to leave in fp32 so that int8 answers as fp32 does on enough texts; none if it does anyway.

    Layers are ranked by how much closer the logits come to those of fp32 when one alone is left in fp32, and left in
    that order, one more at a time, until enough answers agree. Nodes that share a weight are one layer; an embedding,
    all of whose rows share a scale, is one too.

    Args:
        graph: The fp32 graph.
        encoder: Makes batches of texts.
        texts: The validation texts.
        min_agreement: Share of the texts that must get the same label.

    Raises:
        UserError: Not even with every layer in fp32 do they.
    """
    if not min_agreement or not texts:
        return []
    truth = _logits(graph, encoder, texts)

    def agreement(keep: Sequence[str]) -> float:
        answers = _logits(quantise_int8(graph, keep), encoder, texts)
        return float((answers.argmax(axis=1) == truth.argmax(axis=1)).mean())

    if (reached := agreement(())) >= min_agreement:
        return []
    sample = texts[:RANKING_TEXTS]
    wanted = _logits(graph, encoder, sample)
    layers = _layers(graph)
    errors = [np.square(_logits(quantise_int8(graph, layer), encoder, sample) - wanted).mean() for layer in layers]
    kept: list[str] = []
    for place in np.argsort(errors, kind="stable"):
        kept += layers[place]
        if (reached := agreement(kept)) >= min_agreement:
            return kept
    raise UserError(
        f"min_int8_agreement={min_agreement}: int8 reaches {reached:.4f} with all of its {len(layers)} layers in fp32; "
        "ask for no more than that"
    )


def _layers(graph: "onnx.ModelProto") -> list[list[str]]:
    """Return the names of the nodes that int8 quantises a stored weight of, those with the same weight together."""
    stored = {tensor.name for tensor in float_weights(graph)}
    layers: dict[str, list[str]] = {}
    for node in graph.graph.node:
        weight = node.input[WEIGHTS[node.op_type]] if node.op_type in WEIGHTS else ""
        if weight in stored:
            layers.setdefault(weight, []).append(node.name)
    return list(layers.values())


def _logits(graph: "onnx.ModelProto", encoder: TextEncoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return a graph's answers, shape (texts, classes)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cpus()
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result = np.empty((len(texts), len(encoder.labels)), dtype=np.float32)
    encoded = encoder.encode(texts)
    for rows in encoded.batches():
        result[rows] = np.asarray(session.run(["logits"], encoded.padded(rows))[0])
    return result
