"""Stratified splits by a hash of seed and text, that survive classes of one row."""

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from staged import Rows, staged

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.splitting import split_shares, stratified_split


def rows_of(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]


def split(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    with tempfile.TemporaryDirectory() as directory, staged(Path(directory), seed, train=rows) as data:
        data.table.merge_duplicates()
        stratified_split(data.table, data.table.class_counts()["train"], fraction, "validation")
        kept = data.rows()
    return kept["train"], kept["validation"]


class_sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 30), min_size=1, max_size=6)
fractions = st.floats(0.01, 0.99)


@settings(deadline=None, max_examples=30)
@given(class_sizes, fractions, st.integers(0, 2**32 - 1))
def test_parts_hold_every_row_once_in_order(counts: dict[str, int], fraction: float, seed: int) -> None:
    assume(max(counts.values()) > 1)
    rows = rows_of(counts)
    first, second = split(rows, fraction, seed)
    assert sorted([*first, *second]) == sorted(rows)
    assert first == [row for row in rows if row in first]
    assert second == [row for row in rows if row in second]
    shares = split_shares(counts, fraction)
    assert Counter(label for _, label in second) == Counter({label: n for label, n in shares.items() if n})


@given(class_sizes, fractions)
def test_every_class_has_its_share_on_both_sides(counts: dict[str, int], fraction: float) -> None:
    for label, share in split_shares(counts, fraction).items():
        count = counts[label]
        assert count - share >= 1, "what is learned from has every class"
        assert share == 0 if count == 1 else share >= 1
        assert abs(share - count * fraction) <= 1


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    rows = rows_of({"a": 50, "b": 50})
    assert split(rows, 0.2, 1) == split(rows, 0.2, 1)
    assert split(rows, 0.2, 1) != split(rows, 0.2, 2)


def test_split_of_one_class_does_not_depend_on_the_others_nor_on_the_order() -> None:
    alone = split(rows_of({"a": 20}), 0.3, 1)[1]
    both = split(rows_of({"b": 9, "a": 20})[::-1], 0.3, 1)[1]
    assert sorted(row for row in both if row[1] == "a") == sorted(alone)


def test_most_texts_stay_on_their_side_when_the_data_grow() -> None:
    before = set(split(rows_of({"a": 200, "b": 200}), 0.2, 1)[1])
    after = set(split(rows_of({"a": 220, "b": 220}), 0.2, 1)[1])
    assert len(before - after) <= 0.2 * len(before)


def test_classes_of_one_row_stay() -> None:
    rows = rows_of({"a": 1, "b": 1})
    assert split(rows, 0.5, 1) == (rows, [])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        split_shares({"a": 9}, fraction)
