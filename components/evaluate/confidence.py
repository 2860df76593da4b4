"""How far the probabilities of a model can be trusted, and what is gained by not answering where they are low."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.scoring import softmax

BINS = 15  # as in Guo et al. 2017
CURVE_POINTS = 100
TARGETS = (0.99, 0.98, 0.95)  # accuracies that a reader may want of the answered rows


def calibration_figures(logits: NDArray[np.float32], truth: NDArray[np.int64], temperature: float) -> dict[str, float]:
    """Return ECE, Brier score and negative log-likelihood (nats), calibrated and ``uncalibrated_``; lower is better.

    Sources: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2, for the expected calibration
    error over 15 bins of equal width; Brier 1950, "Verification of forecasts expressed in terms of probability", for
    the sum of squares over all classes, from 0 to 2.

    Args:
        logits: Shape (rows, classes).
        truth: True class of each row, shape (rows,).
        temperature: Of the model's calibration.
    """
    figures = {"temperature": temperature}
    for prefix, value in (("", temperature), ("uncalibrated_", 1.0)):
        scaled = (logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) / value
        probabilities, rows = softmax(scaled), np.arange(len(truth))
        bins = reliability(probabilities, truth)
        likelihood = scaled[rows, truth] - np.log(np.exp(scaled).sum(axis=1))  # of logits: no log of 0
        brier = (probabilities**2).sum(axis=1) - 2 * probabilities[rows, truth] + 1
        gaps = sum(entry["rows"] * abs(entry["accuracy"] - entry["confidence"]) for entry in bins)
        figures[f"{prefix}ece"] = float(gaps / len(truth))
        figures[f"{prefix}brier"] = float(brier.mean())
        figures[f"{prefix}nll"] = float(-likelihood.mean())
    return figures


def reliability(probabilities: NDArray[Any], truth: NDArray[np.int64]) -> list[dict[str, float]]:
    """Return rows, mean top probability (confidence) and accuracy of each bin of the top probability that has rows.

    Args:
        probabilities: Shape (rows, classes).
        truth: True class of each row, shape (rows,).
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    rows, sums, hits = (np.bincount(bins, weights, minlength=BINS) for weights in (None, confidence, right))
    return [
        {"rows": int(rows[i]), "confidence": float(sums[i] / rows[i]), "accuracy": float(hits[i] / rows[i])}
        for i in np.flatnonzero(rows)
    ]


def reject_option(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> dict[str, Any]:
    """Return what follows from answering only rows whose top probability reaches a threshold.

    Source: Chow 1970, "On optimum recognition error and reject tradeoff".

    Args:
        probabilities: Shape (rows, classes).
        truth: True class of each row, shape (rows,).

    Returns:
        ``curve``: up to 100 points from few answers to all, each with ``threshold``, ``coverage`` (share of the rows
        answered) and ``accuracy`` of these. ``targets``: for each wanted accuracy (``target``) the point of largest
        coverage that reaches it; only ``target`` where none does.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    confidence, right = confidence[order], (probabilities.argmax(axis=1) == truth)[order]
    answered = np.append(np.flatnonzero(np.diff(confidence)), len(order) - 1) + 1  # rows of equal confidence together
    thresholds, coverage = confidence[answered - 1], answered / len(order)
    accuracy = right.cumsum()[answered - 1] / answered

    def point(i: int) -> dict[str, float]:
        values = {"threshold": thresholds[i], "coverage": coverage[i], "accuracy": accuracy[i]}
        return {name: float(value) for name, value in values.items()}

    shown = np.unique(np.searchsorted(answered, np.linspace(answered[0], answered[-1], CURVE_POINTS)))
    reached = {target: np.flatnonzero(accuracy >= target) for target in TARGETS}
    return {
        "curve": [point(i) for i in shown],
        "targets": [{"target": target, **(point(hit[-1]) if len(hit) else {})} for target, hit in reached.items()],
    }
