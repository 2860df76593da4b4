"""Calibration figures and the reject option, compared with scikit-learn's and with counting."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from kfp_textclf.components.common.scoring import softmax
from kfp_textclf.components.evaluate.confidence import calibration_figures, reject_option, reliability


def rows(seed: int, count: int = 500, classes: int = 4, scale: float = 2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = (generator.normal(size=(count, classes)) * scale).astype(np.float32)
    truth = np.where(generator.random(count) < 0.7, logits.argmax(axis=1), generator.integers(0, classes, count))
    return logits, truth


def test_figures_are_those_of_their_definitions() -> None:
    logits, truth = rows(0)
    figures = calibration_figures(logits, truth, 1.7)
    for prefix, temperature in (("", 1.7), ("uncalibrated_", 1.0)):
        probabilities = softmax(logits.astype(float), temperature)
        assert figures[f"{prefix}nll"] == pytest.approx(log_loss(truth, probabilities), rel=1e-6)
        brier = ((probabilities - np.eye(4)[truth]) ** 2).sum(axis=1).mean()
        assert figures[f"{prefix}brier"] == pytest.approx(brier)
        expected, top = 0.0, probabilities.max(axis=1)
        for low in range(15):
            inside = (top > low / 15) & (top <= (low + 1) / 15)
            if inside.any():
                right = (probabilities.argmax(axis=1) == truth)[inside].mean()
                expected += inside.mean() * abs(right - top[inside].mean())
        assert figures[f"{prefix}ece"] == pytest.approx(expected)
    assert figures["temperature"] == 1.7


def test_sure_and_right_has_no_error() -> None:
    figures = calibration_figures(1000 * np.eye(3, dtype=np.float32), np.arange(3), 1.0)
    assert (figures["ece"], figures["brier"], figures["nll"]) == (0, 0, 0)


def test_sure_and_wrong_is_finite() -> None:
    figures = calibration_figures(1000 * np.eye(3, dtype=np.float32), np.array([1, 2, 0]), 0.5)
    assert figures["ece"] == 1
    assert figures["brier"] == 2
    assert all(map(math.isfinite, figures.values()))


def test_bins_hold_every_row() -> None:
    logits, truth = rows(1)
    bins = reliability(softmax(logits), truth)
    assert sum(entry["rows"] for entry in bins) == 500
    assert len(bins) <= 15
    assert all(0 <= entry["accuracy"] <= 1 and 0 < entry["confidence"] <= 1 for entry in bins)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.sampled_from([0.5, 2, 30]))
def test_each_point_is_what_answering_above_its_threshold_gives(seed: int, count: int, scale: float) -> None:
    logits, truth = rows(seed, count, scale=scale)
    probabilities = softmax(logits)
    top, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    found = reject_option(probabilities, truth)
    assert found["curve"][-1]["coverage"] == 1
    assert len(found["curve"]) <= 100
    for point in found["curve"] + [target for target in found["targets"] if "threshold" in target]:
        answered = top >= point["threshold"]
        assert point["coverage"] == pytest.approx(answered.mean())
        assert point["accuracy"] == pytest.approx(right[answered].mean())
    for target in found["targets"]:
        reached = [(top >= t).mean() for t in top if right[top >= t].mean() >= target["target"]]
        assert target.get("coverage", 0) == pytest.approx(max(reached, default=0)), "the largest coverage there is"


def test_accuracy_out_of_reach_has_no_threshold() -> None:
    found = reject_option(np.full((4, 2), [0.6, 0.4], dtype=np.float32), np.array([0, 0, 1, 1]))
    assert found["targets"] == [{"target": 0.99}, {"target": 0.98}, {"target": 0.95}]
    assert len(found["curve"]) == 1
