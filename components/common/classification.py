"""Quality of a classifier, computed from its confusion matrix with numpy alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    """Return accuracy, macro F1 and Matthews correlation of a confusion matrix of shape (classes, classes)."""
    return {
        "accuracy": float(matrix.trace() / max(matrix.sum(), 1)),
        "macro_f1": macro_f1(matrix),
        "matthews_correlation": matthews_correlation(matrix),
    }


def matthews_correlation(matrix: NDArray[np.int64]) -> float:
    """Return the multi-class Matthews correlation coefficient R_K in [-1, 1].

    It is 0 where it is undefined, when one class takes all rows. Source: Gorodkin 2004, "Comparing two K-category
    assignments by a K-category correlation coefficient", equation 8; the same as scikit-learn's ``matthews_corrcoef``.
    """
    rows = float(matrix.sum())
    true, predicted = matrix.sum(axis=1).astype(float), matrix.sum(axis=0).astype(float)
    covariance = matrix.trace() * rows - true @ predicted
    variance = (rows**2 - predicted @ predicted) * (rows**2 - true @ true)
    return float(covariance / np.sqrt(variance)) if variance > 0 else 0.0


def macro_f1(matrix: NDArray[np.int64]) -> float:
    """Return the mean F1 over the classes that occur among the true or the predicted labels, as scikit-learn does."""
    present = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0
    return float(_f1(matrix)[present].mean()) if present.any() else 0.0


def per_class(matrix: NDArray[np.int64], labels: list[str]) -> list[ClassScore]:
    """Return the scores of each class, in the order of ``labels``; an undefined ratio counts as 0."""
    hits = matrix.diagonal()
    precision = _ratio(hits, matrix.sum(axis=0))
    recall = _ratio(hits, matrix.sum(axis=1))
    columns = zip(labels, precision, recall, _f1(matrix), matrix.sum(axis=1), strict=True)
    return [ClassScore(label, float(p), float(r), float(f), int(n)) for label, p, r, f, n in columns]


def _f1(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    return _ratio(2 * matrix.diagonal(), matrix.sum(axis=0) + matrix.sum(axis=1))


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
