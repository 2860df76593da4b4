"""What each rule over several rows drops, changes and counts."""

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from staged import Rows, staged

from kfp_textclf.components.common.errors import UserError


def merged(tmp_path: Path, rows: Rows, multi_label: str = "keep") -> tuple[Rows, Counter[str]]:
    """Return the rows left of one file after merging duplicates, in order, and the counts."""
    with staged(tmp_path, multi_label=multi_label, train=rows) as data:
        data.table.merge_duplicates()
        data.counts["train"]["duplicates_dropped"] = data.table.staged("true") - data.table.count("true")
        data.counts["train"]["conflicting_texts"] = data.table.count("labels > 1")
        return data.rows()["train"], data.counts["train"]


def test_duplicates_are_dropped_after_normalising_and_counted(tmp_path: Path) -> None:
    rows, counts = merged(tmp_path, [("a", "x"), (" a", "x"), ("b", "y"), ("a ", "x")])
    assert rows == [("a", "x"), ("b", "y")]
    assert (counts["rows_read"], counts["duplicates_dropped"], counts["conflicting_texts"]) == (4, 2, 0)


@pytest.mark.parametrize(("labels", "kept"), [("xyy", "y"), ("xy", "x"), ("yx", "y"), ("xyxyz", "x"), ("zyxyx", "y")])
def test_text_under_several_labels_keeps_the_most_frequent(tmp_path: Path, labels: str, kept: str) -> None:
    rows, counts = merged(tmp_path, [("a", label) for label in labels])
    assert rows == [("a", kept)]
    assert (counts["conflicting_texts"], counts["duplicates_dropped"]) == (1, len(labels) - 1)


def test_rows_without_text_or_label_are_dropped_and_counted(tmp_path: Path) -> None:
    rows, counts = merged(tmp_path, [("", "x"), (" ", "x"), ("a", ""), ("a", "\u00a0"), ("b", "x")])
    assert rows == [("b", "x")]
    assert counts["empty_dropped"] == 4


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("keep", [("a", "x#y"), ("b", "y#x")]), ("first", [("a", "x"), ("b", "y")]), ("drop", [])],
)
def test_multi_intents_by_policy(tmp_path: Path, policy: str, expected: Rows) -> None:
    rows, counts = merged(tmp_path, [("a", "x#y"), ("b", "y#x"), ("c", "x")], policy)
    assert rows == [*expected, ("c", "x")]
    assert counts["multi_label_rows"] == 2


texts = st.lists(st.tuples(st.text("ab ", max_size=3), st.sampled_from(["x", "y", "x#y", ""])), min_size=1, max_size=30)


@settings(deadline=None)
@given(texts, st.sampled_from(["keep", "first", "drop"]))
def test_every_row_is_kept_or_counted_and_labels_are_those_that_a_vote_gives(rows: Rows, policy: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        kept, counts = merged(Path(directory), rows, policy)
    dropped = counts["empty_dropped"] + counts["duplicates_dropped"]
    if policy == "drop":
        dropped += counts["multi_label_rows"]
    assert len(kept) + dropped == counts["rows_read"] == len(rows)
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for text, label in ((" ".join(text.split()), label) for text, label in rows):
        if text and label and not (policy == "drop" and "#" in label):
            votes[text][label.split("#")[0] if policy == "first" else label] += 1
    assert kept == [(text, labels.most_common(1)[0][0]) for text, labels in votes.items()]


TRAIN = [(f"{label} {number}", label) for label in "xy" for number in range(5)]


def test_texts_of_the_test_file_leave_train_whatever_their_label(tmp_path: Path) -> None:
    with staged(tmp_path, train=[*TRAIN, ("a", "x"), ("b", "x")], test=[("a", "x"), ("b", "y"), ("d", "y")]) as data:
        data.select()
        rows = data.rows()
    assert sorted(rows["train"] + rows["validation"]) == sorted(TRAIN)
    assert rows["test"] == [("a", "x"), ("b", "y"), ("d", "y")], "the held-out rows are untouched"
    assert data.counts["train"]["leaked_dropped"] == 2


def test_rare_labels_leave_both_sides(tmp_path: Path) -> None:
    test = [("d", "x"), ("e", "rare"), ("f", "rare")]
    with staged(tmp_path, train=[*TRAIN, ("c", "rare")], test=test) as data:
        classes = data.select(min_examples=2)
        rows = data.rows()
    assert (rows["test"], classes) == ([("d", "x")], {"x": 5, "y": 5})
    assert [data.counts[source]["rare_label_dropped"] for source in ("train", "test")] == [1, 2]


def test_unseen_labels_are_an_error_that_names_them(tmp_path: Path) -> None:
    with staged(tmp_path, train=TRAIN, test=[("b", "w"), ("c", "z"), ("d", "x")]) as data:
        with pytest.raises(UserError, match=r"test: labels 'w', 'z' never in train; .* set unseen_labels=drop"):
            data.select()
        assert not data.table.count("split = 'unseen_label'")


def test_unseen_labels_are_dropped_on_request_and_counted(tmp_path: Path) -> None:
    with staged(tmp_path, train=TRAIN, test=[("b", "z"), ("d", "x")]) as data:
        data.select(unseen_labels="drop")
        assert data.rows()["test"] == [("d", "x")]
    assert data.counts["test"]["unseen_label_dropped"] == 1
