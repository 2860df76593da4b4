"""Quality of a classifier, computed from its confusion matrix with numpy alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUALITY = ("accuracy", "macro_f1", "matthews_correlation", "balanced_accuracy", "weighted_f1")


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one class, and its number of true rows."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def confusion_matrix(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Return the counts ``matrix[i, j]`` of rows of class ``i`` that were predicted as class ``j``.

    Args:
        truth: Class indices, shape (rows,).
        predicted: Class indices, shape (rows,).
        classes: Number of classes.

    Returns:
        Counts of shape (classes, classes).
    """
    flat = np.bincount(truth.astype(np.int64) * classes + predicted.astype(np.int64), minlength=classes**2)
    return flat.reshape(classes, classes)


def quality(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Return the figures named in `QUALITY` of a confusion matrix of shape (classes, classes)."""
    figures = quality_of_counts(matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0))
    more = {"balanced_accuracy": balanced_accuracy(matrix), "weighted_f1": weighted_f1(matrix)}
    return {name: float(value) for name, value in {**figures, **more}.items()}


def quality_of_counts(
    hits: NDArray[Any], true: NDArray[Any], predicted: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Return accuracy, macro F1 and Matthews correlation of what those of a confusion matrix depend on.

    The Matthews correlation is the multi-class R_K in [-1, 1], and 0 where it is undefined, when one class takes all
    rows. Source: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient",
    equation 8; the same as scikit-learn's ``matthews_corrcoef``. Macro F1 is the mean over the classes that occur
    among the true or the predicted labels, as in scikit-learn.

    Args:
        hits: Correct rows of each class, shape (..., classes); leading axes are confusion matrices side by side.
        true: True rows of each class, the same shape.
        predicted: Predicted rows of each class, the same shape.

    Returns:
        The figures by name, each of shape (...).
    """
    hits, true, predicted = (counts.astype(np.float64) for counts in (hits, true, predicted))
    rows, right = true.sum(axis=-1), hits.sum(axis=-1)
    covariance = right * rows - (true * predicted).sum(axis=-1)
    variance = (rows**2 - (predicted**2).sum(axis=-1)) * (rows**2 - (true**2).sum(axis=-1))
    f1, present = _ratio(2 * hits, true + predicted), (true + predicted) > 0
    return {
        "accuracy": _ratio(right, rows),
        "macro_f1": _ratio(f1.sum(axis=-1), present.sum(axis=-1)),
        "matthews_correlation": _ratio(covariance, np.sqrt(np.maximum(variance, 0))),
    }


def matthews_correlation(matrix: NDArray[np.int64]) -> float:
    """Return the Matthews correlation of a confusion matrix of shape (classes, classes)."""
    return quality(matrix)["matthews_correlation"]


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Return the macro F1 of a confusion matrix of shape (classes, classes)."""
    return quality(matrix)["macro_f1"]


def weighted_f1(matrix: NDArray[np.int64]) -> float:
    """Return the mean F1 of the classes, each weighted by its true rows, as scikit-learn does; 0 without rows."""
    support = matrix.sum(axis=1)
    f1 = _ratio(2 * matrix.diagonal(), matrix.sum(axis=0) + support)
    return float(f1 @ support / max(support.sum(), 1))


def balanced_accuracy(matrix: NDArray[np.int64]) -> float:
    """Return the mean recall over the classes that have true rows, as scikit-learn does; 0 without rows."""
    support = matrix.sum(axis=1)
    recall = _ratio(matrix.diagonal(), support)
    return float(recall[support > 0].mean()) if support.any() else 0.0


def per_class(matrix: NDArray[np.int64], labels: list[str]) -> list[ClassScore]:
    """Return the scores of each class, in the order of ``labels``; an undefined ratio counts as 0."""
    hits = matrix.diagonal()
    precision = _ratio(hits, matrix.sum(axis=0))
    recall = _ratio(hits, matrix.sum(axis=1))
    f1 = _ratio(2 * hits, matrix.sum(axis=0) + matrix.sum(axis=1))
    columns = zip(labels, precision, recall, f1, matrix.sum(axis=1), strict=True)
    return [ClassScore(label, float(p), float(r), float(f), int(n)) for label, p, r, f, n in columns]


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)
