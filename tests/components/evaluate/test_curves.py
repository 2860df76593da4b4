"""The curves are those of scikit-learn, which sorts the decisions that are counted here."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from kfp_textclf.components.evaluate import curves
from kfp_textclf.components.evaluate.curves import micro_precision_recall, micro_roc


@pytest.fixture(params=[2, 7])
def answers(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """True classes and probabilities that are mostly right, some of them equal."""
    random = np.random.default_rng(request.param)
    truth = random.integers(0, request.param, 500)
    logits = random.normal(size=(500, request.param))
    logits[np.arange(500), truth] += 1.5
    logits[:50] = logits[0]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return truth, probabilities.astype(np.float32)


def area(x: list[float], y: list[float]) -> float:
    return float(abs(np.trapezoid(y, x)))


def decisions(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(probabilities.shape[1]) == truth[:, None]).ravel(), probabilities.ravel()


def test_roc(answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "POINTS", 10**6)
    monkeypatch.setattr(curves, "CHUNK", 64)
    false_positive, true_positive, thresholds = micro_roc(*answers)
    wanted = roc_curve(*decisions(*answers), drop_intermediate=False)
    np.testing.assert_allclose(
        np.interp(wanted[2][1:], thresholds[::-1], false_positive[::-1]), wanted[0][1:], atol=0.01
    )
    assert area(false_positive, true_positive) == pytest.approx(area(wanted[0], wanted[1]), abs=1e-4)
    assert (false_positive[0], true_positive[0], thresholds[0]) == (0, 0, 1)
    assert (np.diff(thresholds) <= 0).all()


def test_precision_and_recall(answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "POINTS", 10**6)
    precision, recall = micro_precision_recall(*answers)
    wanted = precision_recall_curve(*decisions(*answers))
    assert area(recall, precision) == pytest.approx(area(wanted[1], wanted[0]), abs=1e-3)
    assert (precision[-1], recall[-1], recall[0]) == (1, 0, 1)


def test_a_curve_has_a_hundred_points_at_most(answers) -> None:
    assert [len(values) for values in (*micro_roc(*answers), *micro_precision_recall(*answers))] == [100] * 5


def test_answers_that_are_no_numbers_break_no_curve() -> None:
    broken = np.full((4, 2), np.nan, dtype=np.float32)
    assert micro_roc(np.array([0, 1, 0, 1]), broken) == ([0, 1], [0, 1], [1, 0])
