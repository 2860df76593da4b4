"""Calibration: the temperature that makes a model's probabilities those of being right."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import write_json
from kfp_textclf.components.common.scoring import CALIBRATION

RANGE = (1 / 20, 20.0)
STEPS = 60  # of bisection


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature.

    Attributes:
        temperature: What the logits are divided by.
        rows: Rows that it was fitted on.
        nll_before: Mean negative log-likelihood of their labels at temperature 1, in nats.
        nll_after: The same at the temperature; never larger.
    """

    temperature: float
    rows: int
    nll_before: float
    nll_after: float

    def write(self, directory: Path) -> None:
        """Write ``calibration.json``, which `common.scoring.OnnxClassifier` reads."""
        write_json(directory / CALIBRATION, asdict(self))


def fit_temperature(logits: NDArray[np.float32], truth: NDArray[np.integer]) -> Calibration:
    """Return the temperature that minimises the negative log-likelihood of rows that the training did not learn from.

    The likelihood is convex in 1 / temperature, so its derivative has one root. On few rows that are all right it
    has none, and the best temperature would be 0: certainty for ever, from a handful of rows. Targets of
    (rows + 1) / (rows + 2) instead of 1 keep the root, and matter less the more rows there are. What would make the
    likelihood of the labels themselves worse is not done: the temperature is then 1.

    Sources: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2; the targets are those of Platt
    1999, "Probabilistic outputs for support vector machines".

    Args:
        logits: Shape (rows, classes).
        truth: True class of each row, shape (rows,).
    """
    rows, classes = logits.shape
    scores = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    if not rows or classes < 2:
        return Calibration(1.0, rows, 0.0, 0.0)
    missing = 1 / (rows + 2)
    of_truth = scores[np.arange(rows), truth]
    target = (1 - missing) * of_truth + missing * (scores.sum(axis=1) - of_truth) / (classes - 1)

    def slope(inverse: float) -> float:
        exponents = np.exp(scores * inverse)
        return float(((exponents * scores).sum(axis=1) / exponents.sum(axis=1) - target).mean())

    low, high = 1 / RANGE[1], 1 / RANGE[0]
    for _ in range(STEPS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    # Few digits, so that the same model has the same file wherever it was exported.
    temperature = float(f"{1 / high:.4g}")
    before, after = (_nll(scores / t, truth) for t in (1.0, temperature))
    return Calibration(temperature, rows, before, after) if after < before else Calibration(1.0, rows, before, before)


def _nll(logits: NDArray[np.float64], truth: NDArray[np.integer]) -> float:
    partition = np.log(np.exp(logits).sum(axis=1))  # the largest logit of a row is 0
    return round(float((partition - logits[np.arange(len(truth)), truth]).mean()), 6)
