"""ROC and precision-recall curves over all (row, class) decisions, in time that grows as their number does.

Sorting the probabilities, as is usual, takes longer a row the more rows there are. Here decisions are counted by their
probability instead: its bits but for the last eight, 1/65536 apart near 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DROPPED_BITS = 8  # of a float32, whose bits are in the order of the numbers that are not negative
CHUNK = 2**16  # rows at a time
POINTS = 100  # of a curve, at most: a dashboard draws no more


def micro_roc(
    truth: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[list[float], list[float], list[float]]:
    """Return false positive rates, true positive rates and thresholds, these falling from 1.

    Args:
        truth: Class of each row, shape (rows,).
        probabilities: Shape (rows, classes).
    """
    wrong, right, thresholds = _accepted(truth, probabilities)
    curve = (wrong / max(wrong[-1], 1), right / max(right[-1], 1), thresholds)
    return _thinned(curve[0]), _thinned(curve[1]), _thinned(curve[2])


def micro_precision_recall(
    truth: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[list[float], list[float]]:
    """Return precision and recall, from the lowest threshold to one that accepts nothing, where precision is 1.

    Args:
        truth: Class of each row, shape (rows,).
        probabilities: Shape (rows, classes).
    """
    wrong, right, _ = _accepted(truth, probabilities)
    precision = np.append(1.0, right[1:] / (right[1:] + wrong[1:]))
    return _thinned(precision[::-1]), _thinned((right / max(right[-1], 1))[::-1])


def _accepted(
    truth: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return how many wrong and right decisions reach each threshold, the highest one, which none reaches, first."""
    bins = int(np.float32(1.0).view(np.uint32) >> DROPPED_BITS) + 1
    counts = np.zeros((2, bins), dtype=np.int64)
    for start in range(0, len(truth), CHUNK):
        scores = np.nan_to_num(probabilities[start : start + CHUNK].astype(np.float32)).clip(0.0, 1.0)
        place = (scores.view(np.uint32) >> DROPPED_BITS).astype(np.int64)
        own = place[np.arange(len(place)), truth[start : start + CHUNK]]
        counts[1] += np.bincount(own, minlength=bins)
        counts[0] += np.bincount(place.ravel(), minlength=bins)
    counts[0] -= counts[1]
    used = np.flatnonzero(counts.any(axis=0))[::-1]
    thresholds = (used << DROPPED_BITS).astype(np.uint32).view(np.float32)
    wrong, right = (np.append(0, each[used].cumsum()) for each in counts)
    return wrong, right, np.append(np.float32(1.0), thresholds)


def _thinned(values: NDArray[Any]) -> list[float]:
    """Return up to `POINTS` of the points of a curve, evenly spaced."""
    return values[np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))].astype(float).tolist()
