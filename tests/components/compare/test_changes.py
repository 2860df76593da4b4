"""Distances and changes of texts against what they are by definition."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_textclf.components.common.data_profile import FINGERPRINT_COUNT, HASHES
from kfp_textclf.components.compare.changes import jensen_shannon_distance, length_distance, text_changes

histograms = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1)


@given(histograms, histograms)
def test_distance_is_symmetric_and_lies_between_0_and_1(first: dict, second: dict) -> None:
    distance = jensen_shannon_distance(first, second)
    assert 0 <= distance <= 1
    assert distance == pytest.approx(jensen_shannon_distance(second, first))
    assert jensen_shannon_distance(first, {name: 3 * n for name, n in first.items()}) == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(histograms, histograms)
def test_distance_is_that_of_scipy(first: dict, second: dict) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    vectors = [[histogram.get(name, 0) for name in "abcdef"] for histogram in (first, second)]
    expected = distance.jensenshannon(*vectors, base=2)
    assert jensen_shannon_distance(first, second) == pytest.approx(0 if math.isnan(expected) else expected, abs=1e-6)


def test_distributions_that_share_nothing_are_at_distance_1() -> None:
    assert jensen_shannon_distance({"a": 3}, {"b": 5}) == 1


def test_lengths_are_compared_in_deciles() -> None:
    before = dict.fromkeys(range(1, 101), 5)
    assert length_distance(before, before) == 0
    assert length_distance(before, {n: 7 for n in before if n % 2}) < 0.05, "not length by length"
    assert length_distance(before, {n + 200: 5 for n in before}) > 0.8
    assert length_distance({7: 10}, {7: 3}) == 0
    assert length_distance({7: 10}, {8: 3}) == 1


def sketch(texts: dict[int, str]) -> dict[int, str]:
    """Return what `write_fingerprints` keeps of these hashes."""
    return {key: texts[key] for key in sorted(texts)[:FINGERPRINT_COUNT]}


@given(
    st.dictionaries(st.integers(0, 40), st.sampled_from("xy"), max_size=30),
    st.dictionaries(st.integers(0, 40), st.sampled_from("xy"), max_size=30),
)
def test_small_data_are_counted_exactly(before: dict[int, str], now: dict[int, str]) -> None:
    changes = text_changes(before, now, 5)
    assert changes.exact
    assert changes.new == len(now.keys() - before.keys())
    assert changes.removed == len(before.keys() - now.keys())
    assert changes.relabelled == sum(before[key] != now[key] for key in before.keys() & now.keys())
    assert set(changes.new_keys) <= now.keys() - before.keys()


@pytest.mark.parametrize("size", [FINGERPRINT_COUNT // 4, FINGERPRINT_COUNT * 2])
def test_large_data_are_estimated(size: int) -> None:
    draw = random.Random(3)
    before = {draw.randrange(HASHES): "x" for _ in range(FINGERPRINT_COUNT * 3)}
    kept = {key: "y" if draw.random() < 0.1 else "x" for key in before if draw.random() < 0.7}
    now = {**kept, **{draw.randrange(HASHES): "x" for _ in range(size)}}
    changes = text_changes(sketch(before), sketch(now), 5)
    assert not changes.exact
    expected = {
        "new": size,
        "removed": len(before) - len(kept),
        "common": len(kept),
        "relabelled": sum(label == "y" for label in kept.values()),
    }
    for name, count in expected.items():
        assert getattr(changes, name) == pytest.approx(count, rel=0.05), name
