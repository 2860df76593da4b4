"""Significance tests, compared with scipy's and with what chance does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from kfp_textclf.components.common.significance import METRICS, compare, holm, mcnemar, paired_bootstrap

counts = st.integers(0, 3000)
ignore_undefined = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")


def answers(generator: np.random.Generator, rows: int, *error_rates: float, classes: int = 4) -> list[np.ndarray]:
    """Return truth, then answers with some errors in common and some of their own."""
    truth = generator.integers(0, classes, rows)
    common = np.where(generator.random(rows) < 0.05, generator.integers(0, classes, rows), truth)
    own = [
        np.where(generator.random(rows) < rate, generator.integers(0, classes, rows), common) for rate in error_rates
    ]
    return [truth, *own]


@given(counts, counts)
def test_mcnemar_is_the_exact_binomial_test(b: int, c: int) -> None:
    expected = binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_of_a_published_example() -> None:
    """Agresti 2002, table 10.1: approval of the prime minister, 150 against 86: z = -4.17."""
    assert mcnemar(86, 150) == pytest.approx(3.7e-5, rel=0.05)


@ignore_undefined
@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=40))
def test_observed_metrics_are_those_of_scikit_learn(rows: list[tuple[int, int, int]]) -> None:
    truth, first, second = np.array(rows).T
    found = paired_bootstrap(truth, first, second, samples=39)
    for name, expected in {
        "accuracy": metrics.accuracy_score,
        "matthews_correlation": metrics.matthews_corrcoef,
        "macro_f1": lambda t, p: metrics.f1_score(t, p, average="macro", zero_division=0),  # type: ignore[arg-type]
    }.items():
        assert found[name].first == pytest.approx(expected(truth, first), abs=1e-9)
        assert found[name].second == pytest.approx(expected(truth, second), abs=1e-9)
        assert found[name].low <= found[name].high


def test_interval_is_that_of_drawing_rows() -> None:
    """Drawing cells by the multinomial is drawing rows with replacement."""
    generator = np.random.default_rng(3)
    truth, first, second = answers(generator, 300, 0.05, 0.15)
    drawn = []
    for _ in range(700):
        rows = generator.integers(0, 300, 300)
        scores = [metrics.matthews_corrcoef(truth[rows], answer[rows]) for answer in (first, second)]
        drawn.append(scores[1] - scores[0])
    found = paired_bootstrap(truth, first, second)["matthews_correlation"]
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.015)


def test_chance_alone_is_significant_in_one_case_of_twenty() -> None:
    generator = np.random.default_rng(1)
    found = [compare(*answers(generator, 200, 0.08, 0.08), seed=seed, samples=399) for seed in range(500)]
    for name in METRICS:
        share = np.mean([comparison.metrics[name].p_value <= 0.05 for comparison in found])
        assert 0.02 < share < 0.09, name
    assert np.mean([comparison.mcnemar_p <= 0.05 for comparison in found]) < 0.06, "exact: never too often"


def test_clear_difference_is_found() -> None:
    generator = np.random.default_rng(2)
    found = [compare(*answers(generator, 200, 0.05, 0.25), seed=seed, samples=399) for seed in range(100)]
    for name in METRICS:
        assert np.mean([c.metrics[name].high < 0 for c in found]) > 0.95, name
    assert np.mean([c.mcnemar_p <= 0.05 for c in found]) > 0.95


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_interval_without_zero_and_small_p_value_are_the_same(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for difference in compare(*answers(generator, 150, 0.05, 0.11), samples=199).metrics.values():
        assert (difference.p_value <= 0.05) == (difference.low > 0 or difference.high < 0)


def test_equal_answers_do_not_differ() -> None:
    truth, first = answers(np.random.default_rng(4), 50, 0.3)
    found = compare(truth, first, first)
    assert (found.only_first_right, found.only_second_right, found.mcnemar_p) == (0, 0, 1.0)
    for difference in found.metrics.values():
        assert (difference.difference, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)


def test_order_of_the_models_turns_the_sign() -> None:
    truth, first, second = answers(np.random.default_rng(5), 400, 0.05, 0.2)
    there, back = compare(truth, first, second), compare(truth, second, first)
    assert there.metrics["accuracy"].difference == -back.metrics["accuracy"].difference
    assert there.metrics["accuracy"].high < 0 < back.metrics["accuracy"].low
    assert there.mcnemar_p == back.mcnemar_p


def test_same_input_gives_the_same_result_in_any_order_of_rows() -> None:
    rows = answers(np.random.default_rng(6), 300, 0.1, 0.1)
    order = np.random.default_rng(7).permutation(300)
    assert compare(*rows) == compare(*(column[order] for column in rows))
    assert compare(*rows, seed=1) != compare(*rows)


def test_many_rows_cost_no_more_than_their_distinct_cells() -> None:
    truth, first, second = answers(np.random.default_rng(8), 1_000_000, 0.02, 0.02, classes=5)
    found = compare(truth, first, second)
    assert found.rows == 1_000_000
    assert found.metrics["accuracy"].high - found.metrics["accuracy"].low < 0.002


@pytest.mark.parametrize("lengths", [(0, 0, 0), (3, 2, 3), (3, 3, 4)])
def test_answers_that_do_not_pair_are_refused(lengths: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="an answer of both models to every row"):
        compare(*(np.zeros(length, dtype=int) for length in lengths))


def test_holm_adjusts_as_published() -> None:
    """Holm 1979, as R's p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []
