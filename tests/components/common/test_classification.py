"""Quality figures, compared with scikit-learn's."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from kfp_textclf.components.common.classification import (
    confusion_matrix,
    macro_f1,
    matthews_correlation,
    per_class,
    quality,
)

CLASSES = 5
labelled = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60)
ignore_undefined = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = np.array(pairs).T
    return truth, predicted


@ignore_undefined
@settings(deadline=None)
@given(labelled)
def test_quality_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = arrays(pairs)
    figures = quality(confusion_matrix(truth, predicted, CLASSES))
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    assert figures["macro_f1"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro", zero_division=0))  # type: ignore[arg-type]
    assert figures["matthews_correlation"] == pytest.approx(metrics.matthews_corrcoef(truth, predicted), abs=1e-12)


@settings(deadline=None)
@given(labelled)
def test_confusion_matrix_is_that_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = arrays(pairs)
    expected = metrics.confusion_matrix(truth, predicted, labels=range(CLASSES))
    np.testing.assert_array_equal(confusion_matrix(truth, predicted, CLASSES), expected)


@settings(deadline=None)
@given(labelled)
def test_scores_per_class_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = arrays(pairs)
    names = [f"class {number}" for number in range(CLASSES)]
    scores = per_class(confusion_matrix(truth, predicted, CLASSES), names)
    expected = metrics.precision_recall_fscore_support(truth, predicted, labels=range(CLASSES), zero_division=0)  # type: ignore[arg-type]
    found = np.array([(s.precision, s.recall, s.f1, s.support) for s in scores]).T
    np.testing.assert_allclose(found, np.array(expected))
    assert [s.label for s in scores] == names


@settings(deadline=None)
@given(labelled)
def test_matthews_correlation_lies_between_minus_one_and_one(pairs: list[tuple[int, int]]) -> None:
    assert -1 - 1e-12 <= matthews_correlation(confusion_matrix(*arrays(pairs), CLASSES)) <= 1 + 1e-12


def test_large_counts_do_not_overflow() -> None:
    matrix = np.array([[2 * 10**9, 10**9], [10**9, 2 * 10**9]], dtype=np.int64)
    assert matthews_correlation(matrix) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "matrix", [np.zeros((3, 3), dtype=np.int64), np.array([[4, 0], [2, 0]])], ids=["no rows", "one class predicted"]
)
def test_undefined_correlation_is_zero(matrix: np.ndarray) -> None:
    assert matthews_correlation(matrix) == 0
    assert np.isfinite(list(quality(matrix).values())).all()


def test_class_that_nobody_names_does_not_count_in_macro_f1() -> None:
    assert macro_f1(np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])) == 1


def test_small_integer_types_do_not_overflow() -> None:
    truth = np.array([200, 250], dtype=np.uint8)
    assert confusion_matrix(truth, truth, 251)[250, 250] == 1


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_and_weighted_f1_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn.metrics import balanced_accuracy_score, f1_score

    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, 4, 40), generator.integers(0, 5, 40)  # the last class is never true
    figures = quality(confusion_matrix(truth, predicted, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
        assert figures["weighted_f1"] == pytest.approx(f1_score(truth, predicted, average="weighted"))
