"""Temperature scaling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from kfp_textclf.components.common.scoring import softmax
from kfp_textclf.components.export.calibration import fit_temperature


def scaled(temperature: float, rows: int = 4000, classes: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits that are overconfident by a factor, and labels drawn from the true probabilities."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, classes)) * 2
    chosen = (softmax(logits).cumsum(axis=1) < generator.random((rows, 1))).sum(axis=1)
    return (logits * temperature).astype(np.float32), chosen


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5, 8.0])
def test_temperature_of_the_data_is_found(temperature: float) -> None:
    logits, truth = scaled(temperature)
    found = fit_temperature(logits, truth)
    assert found.temperature == pytest.approx(temperature, rel=0.08)

    def nll(t: float) -> float:
        return -log_softmax(logits.astype(float) / t, axis=1)[np.arange(len(truth)), truth].mean()

    best = minimize_scalar(nll, bounds=(0.05, 20), method="bounded")
    assert found.nll_after == pytest.approx(best.fun, abs=1e-4)  # type: ignore[union-attr]
    assert found.nll_before == pytest.approx(nll(1.0), abs=1e-5)
    assert found.rows == 4000


def test_few_rows_that_are_all_right_give_no_certainty() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    found = fit_temperature(logits, np.array([0, 1, 2, 0]))
    assert 0.2 < found.temperature < 1
    assert softmax(logits, found.temperature).max() < 0.9


def test_model_as_sure_as_the_rows_can_tell_stays_as_it_is() -> None:
    logits = 20 * np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert fit_temperature(logits, np.array([0, 1, 2, 0])).temperature == 1


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 9), st.floats(1e-3, 1e3))
def test_likelihood_never_falls_and_labels_stay(seed: int, rows: int, classes: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    logits = (generator.normal(size=(rows, classes)) * scale).astype(np.float32)
    found = fit_temperature(logits, generator.integers(0, classes, rows))
    assert found.nll_after <= found.nll_before
    assert 0.05 <= found.temperature <= 20
    np.testing.assert_array_equal(softmax(logits, found.temperature).argmax(axis=1), softmax(logits).argmax(axis=1))


@pytest.mark.parametrize("shape", [(0, 3), (4, 1)], ids=["no rows", "one class"])
def test_nothing_to_learn_from_changes_nothing(shape: tuple[int, int]) -> None:
    found = fit_temperature(np.zeros(shape, dtype=np.float32), np.zeros(shape[0], dtype=int))
    assert (found.temperature, found.nll_before, found.nll_after) == (1.0, 0.0, 0.0)
