"""What each cleaning rule drops, changes and counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.cleaning import (
    Cleaned,
    clean,
    normalise,
    without_leaks,
    without_rare_labels,
    without_unseen_labels,
)


def test_leading_spaces_and_runs_of_white_space_go() -> None:
    assert clean([(" a \t b\n", " x ")], "keep").rows == [("a b", "x")]


def test_unicode_is_composed_so_that_equal_texts_are_equal() -> None:
    assert clean([("cafe\u0301", "x"), ("caf\u00e9", "x")], "keep").rows == [("caf\u00e9", "x")]


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_duplicates_are_dropped_after_normalising_and_counted() -> None:
    cleaned = clean([("a", "x"), (" a", "x"), ("b", "y"), ("a ", "x")], "keep")
    assert cleaned.rows == [("a", "x"), ("b", "y")]
    assert cleaned.counts["rows_read"] == 4
    assert cleaned.counts["duplicates_dropped"] == 2
    assert cleaned.counts["conflicting_texts"] == 0


@pytest.mark.parametrize(("labels", "kept"), [("xyy", "y"), ("xy", "x"), ("yx", "y"), ("xyxyz", "x")])
def test_text_under_several_labels_keeps_the_most_frequent(labels: str, kept: str) -> None:
    cleaned = clean([("a", label) for label in labels], "keep")
    assert cleaned.rows == [("a", kept)]
    assert cleaned.counts["conflicting_texts"] == 1
    assert cleaned.counts["duplicates_dropped"] == len(labels) - 1


def test_rows_without_text_or_label_are_dropped_and_counted() -> None:
    cleaned = clean([("", "x"), (" ", "x"), ("a", ""), ("a", "\u00a0"), ("b", "x")], "keep")
    assert cleaned.rows == [("b", "x")]
    assert cleaned.counts["empty_dropped"] == 4


@pytest.mark.parametrize(
    ("policy", "rows"),
    [
        ("keep", [("a", "x#y"), ("b", "x")]),
        ("first", [("a", "x"), ("b", "x")]),
        ("drop", [("b", "x")]),
    ],
)
def test_multi_intents_by_policy(policy: str, rows: list[tuple[str, str]]) -> None:
    cleaned = clean([("a", "x#y"), ("b", "x")], policy)
    assert cleaned.rows == rows
    assert cleaned.counts["multi_label_rows"] == 1


def test_label_that_begins_with_the_separator_is_kept_whole() -> None:
    assert clean([("a", "#y")], "first").rows == [("a", "#y")]


def test_order_of_intents_matters_when_kept() -> None:
    assert [label for _, label in clean([("a", "x#y"), ("b", "y#x")], "keep").rows] == ["x#y", "y#x"]


def test_unknown_policy_is_refused() -> None:
    with pytest.raises(UserError, match="multi_label='split': is not one of keep, first, drop"):
        clean([], "split")
    with pytest.raises(UserError, match="unseen_labels='ignore': is not one of error, drop"):
        without_unseen_labels(Cleaned([]), Cleaned([]), "ignore")


def test_texts_of_the_test_file_leave_train_whatever_their_label() -> None:
    train, test = Cleaned([("a", "x"), ("b", "x"), ("c", "y")]), Cleaned([("a", "x"), ("b", "z"), ("d", "y")])
    without_leaks(train, test)
    assert train.rows == [("c", "y")]
    assert train.counts["leaked_dropped"] == 2
    assert len(test.rows) == 3, "the held-out rows are untouched"


def test_rare_labels_leave_both_sides() -> None:
    train = Cleaned([("a", "x"), ("b", "x"), ("c", "rare")])
    test = Cleaned([("d", "x"), ("e", "rare"), ("f", "rare")])
    without_rare_labels(train, test, 2)
    assert (train.rows, test.rows) == ([("a", "x"), ("b", "x")], [("d", "x")])
    assert (train.counts["rare_label_dropped"], test.counts["rare_label_dropped"]) == (1, 2)


def test_unseen_labels_are_an_error_that_names_them() -> None:
    train, test = Cleaned([("a", "x")]), Cleaned([("b", "y"), ("c", "z"), ("d", "x")])
    with pytest.raises(UserError, match=r"test: labels 'y', 'z' never in train; .* set unseen_labels=drop"):
        without_unseen_labels(train, test, "error")


def test_unseen_labels_are_dropped_on_request_and_counted() -> None:
    train, test = Cleaned([("a", "x")]), Cleaned([("b", "y"), ("d", "x")])
    without_unseen_labels(train, test, "drop")
    assert test.rows == [("d", "x")]
    assert test.counts["unseen_label_dropped"] == 1


rows = st.lists(st.tuples(st.text("ab ", max_size=3), st.sampled_from(["x", "y", "x#y", ""])), max_size=30)


@given(rows, st.sampled_from(["keep", "first", "drop"]))
def test_every_row_is_kept_or_counted(rows: list[tuple[str, str]], policy: str) -> None:
    cleaned = clean(rows, policy)
    counts = cleaned.counts
    dropped = counts["empty_dropped"] + counts["duplicates_dropped"]
    if policy == "drop":
        dropped += counts["multi_label_rows"]
    assert len(cleaned.rows) + dropped == counts["rows_read"] == len(rows)
    texts = [text for text, _ in cleaned.rows]
    assert len(set(texts)) == len(texts)
