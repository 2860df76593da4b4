"""Whether two classifiers that answered the same rows differ by more than chance.

Two tests on paired answers. McNemar's compares how often only one of the two is right. The paired bootstrap draws the
held-out rows again and again, with both answers to each, and looks at how the difference of a metric varies; it serves
metrics that no formula covers, such as the Matthews correlation. Both take the two models as given: they say what
another sample of rows would change, not what another seed of the training would.

Sources: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages"
(the exact form); Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapters 13 and 15; Davison and
Hinkley 1997, "Bootstrap Methods and their Application", section 4.4, for counting the observed sample as one draw;
Holm 1979, "A simple sequentially rejective multiple test procedure".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.classification import quality_of_counts

METRICS = ("matthews_correlation", "macro_f1", "accuracy")
ALPHA = 0.05
SAMPLES = 1999  # with the observed one 2,000, of which 2.5 % is a whole number: interval and p value always agree
CHUNK = 2**22  # drawn counts in memory at a time


@dataclass(frozen=True)
class Difference:
    """A metric of two models on the same rows.

    Attributes:
        first: Of the first model.
        second: Of the second one.
        low: Lower end of the 95 % confidence interval of second - first.
        high: Upper end.
        p_value: Two-sided, from the bootstrap; at least 2 / (draws + 1).
    """

    first: float
    second: float
    low: float
    high: float
    p_value: float

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    def __str__(self) -> str:
        """Return difference and interval for a sentence."""
        return f"{self.difference:+.4f}, 95 % interval {self.low:+.4f} to {self.high:+.4f}, p {self.p_value:.2g}"


def in_words(difference: float, p_value: float) -> str:
    """Return what a test says of the second model: better, worse, or neither beyond chance."""
    if p_value > ALPHA:
        return "no significant difference"
    return f"significantly {'better' if difference > 0 else 'worse'}"


@dataclass(frozen=True)
class Comparison:
    """Two models on the same rows.

    Attributes:
        rows: Number of rows.
        only_first_right: Rows that only the first model answers correctly.
        only_second_right: Rows that only the second one does.
        mcnemar_p: Exact p value of McNemar's test on these two.
        metrics: The difference of each of `METRICS`.
    """

    rows: int
    only_first_right: int
    only_second_right: int
    mcnemar_p: float
    metrics: dict[str, Difference]


def compare(
    truth: NDArray[np.integer],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    *,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Comparison:
    """Compare the answers of two models to the same rows; the same input gives the same result.

    Args:
        truth: True class of each row, shape (rows,), at least one row.
        first: Answer of the first model to each row, the same shape.
        second: Answer of the second one.
        seed: Seed of the bootstrap.
        samples: Draws of the bootstrap; one less than a multiple of 40, for interval and p value to agree.

    Raises:
        ValueError: There are no rows, or arrays of different length.
    """
    if not len(truth) == len(first) == len(second) > 0:
        raise ValueError("a comparison needs an answer of both models to every row, and at least one row")
    b, c = int(((first == truth) & (second != truth)).sum()), int(((first != truth) & (second == truth)).sum())
    differences = paired_bootstrap(truth, first, second, seed=seed, samples=samples)
    return Comparison(len(truth), b, c, mcnemar(b, c), differences)


def mcnemar(only_first_right: int, only_second_right: int) -> float:
    """Return the exact two-sided p value of McNemar's test: a fair coin falls as unevenly as the two counts.

    Args:
        only_first_right: Rows that only the first model answers correctly.
        only_second_right: Rows that only the second one does.
    """
    n, k = only_first_right + only_second_right, min(only_first_right, only_second_right)
    steps = np.arange(1, k + 1)
    # log of C(n, i) / 2^n for i = 0 to k
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - steps + 1) / steps))]) - n * np.log(2.0)
    return float(min(1.0, 2 * np.exp(logs - logs.max()).sum() * np.exp(logs.max())))


def paired_bootstrap(
    truth: NDArray[np.integer],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    *,
    seed: int = 0,
    samples: int = SAMPLES,
) -> dict[str, Difference]:
    """Return the difference of each metric with its percentile interval and p value.

    Rows with the same (truth, first, second) are alike to every metric here, so a draw of rows is a draw of the
    multinomial over the distinct triples: its cost depends on them and not on the number of rows.

    Args:
        truth: True class of each row, shape (rows,).
        first: Answer of the first model to each row, the same shape.
        second: Answer of the second one.
        seed: Seed of the draws.
        samples: Number of draws.
    """
    names, codes = np.unique(np.concatenate([truth, first, second]), return_inverse=True)
    classes, (t, a, b) = len(names), codes.astype(np.int64).reshape(3, -1)
    cells, counts = np.unique((t * classes + a) * classes + b, return_counts=True)
    triple = np.stack([cells // classes**2, cells // classes % classes, cells % classes])
    generator = np.random.default_rng(seed)
    observed = _metrics(counts[None], triple, classes)
    step = max(1, CHUNK // len(cells))
    drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in METRICS}
    for start in range(0, samples, step):
        size = min(step, samples - start)
        chunk = _metrics(generator.multinomial(len(t), counts / len(t), size=size), triple, classes)
        for name in METRICS:
            drawn[name].append(chunk[name][1] - chunk[name][0])
    return {name: _difference(observed[name][:, 0], np.concatenate(drawn[name])) for name in METRICS}


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for being several, by Holm's method: reject where one is at most alpha."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    return adjusted.tolist()


def _difference(observed: NDArray[np.float64], drawn: NDArray[np.float64]) -> Difference:
    """Return the percentile interval, and twice the share of draws on the other side of 0."""
    ordered = np.sort(drawn.round(12))  # two sums that are equal on paper may differ in their last bit
    tail = max(1, round((len(ordered) + 1) * ALPHA / 2))
    beyond = min((ordered <= 0).sum(), (ordered >= 0).sum())
    p_value = min(1.0, 2 * (int(beyond) + 1) / (len(ordered) + 1))
    first, second = observed.tolist()
    return Difference(first, second, float(ordered[tail - 1]), float(ordered[-tail]), p_value)


def _metrics(counts: NDArray[np.int64], triple: NDArray[np.int64], classes: int) -> dict[str, NDArray[np.float64]]:
    """Return each metric of both models, shape (2, draws), from the counts of the triples, shape (draws, triples)."""
    t, a, b = triple
    true = _sums(counts, t, classes)
    figures = [
        quality_of_counts(_sums(counts[:, answer == t], t[answer == t], classes), true, _sums(counts, answer, classes))
        for answer in (a, b)
    ]
    return {name: np.stack([figure[name] for figure in figures]) for name in METRICS}


def _sums(counts: NDArray[np.int64], group: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Return the counts summed by class, shape (draws, classes)."""
    sums = np.zeros((len(counts), classes), dtype=np.int64)
    if len(group):
        order = np.argsort(group, kind="stable")
        present, starts = np.unique(group[order], return_index=True)
        sums[:, present] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums
