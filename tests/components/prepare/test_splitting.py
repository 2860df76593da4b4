"""Stratified, seeded splits that survive classes of one row."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.splitting import stratified_split


def rows_of(counts: dict[str, int]) -> list[tuple[str, str]]:
    return [(f"{label} {number}", label) for label, count in counts.items() for number in range(count)]


class_sizes = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(1, 30), min_size=1, max_size=6)
fractions = st.floats(0.01, 0.99)


@given(class_sizes, fractions, st.integers(0, 2**32 - 1))
def test_parts_hold_every_row_once_in_order(counts: dict[str, int], fraction: float, seed: int) -> None:
    assume(max(counts.values()) > 1)
    rows = rows_of(counts)
    first, second = stratified_split(rows, fraction, seed)
    assert sorted(first + second) == sorted(rows)
    assert first == [row for row in rows if row in first]
    assert second == [row for row in rows if row in second]


@given(class_sizes, fractions)
def test_every_class_has_its_share_on_both_sides(counts: dict[str, int], fraction: float) -> None:
    assume(max(counts.values()) > 1)
    first, second = (Counter(label for _, label in part) for part in stratified_split(rows_of(counts), fraction, 13))
    for label, count in counts.items():
        assert first[label] >= 1, "what is learned from has every class"
        assert second[label] == 0 if count == 1 else second[label] >= 1
        assert abs(second[label] - count * fraction) <= 1


def test_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    rows = rows_of({"a": 50, "b": 50})
    assert stratified_split(rows, 0.2, 1) == stratified_split(rows, 0.2, 1)
    assert stratified_split(rows, 0.2, 1) != stratified_split(rows, 0.2, 2)


def test_split_of_one_class_does_not_depend_on_the_others() -> None:
    alone = stratified_split(rows_of({"a": 20}), 0.3, 1)[1]
    assert [row for row in stratified_split(rows_of({"b": 9, "a": 20}), 0.3, 1)[1] if row[1] == "a"] == alone


def test_split_where_every_class_has_one_row_is_refused() -> None:
    with pytest.raises(UserError, match="2 rows of 2 labels: too few to split; every label has a single row"):
        stratified_split(rows_of({"a": 1, "b": 1}), 0.5, 1)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="must lie between 0 and 1"):
        stratified_split(rows_of({"a": 9}), fraction, 1)
