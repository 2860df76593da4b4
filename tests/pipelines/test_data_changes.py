"""What changed between two versions of a file, against a plain way of finding out."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import write_csv

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.texts import normalise
from kfp_textclf.components.prepare.readers import Columns
from kfp_textclf.pipelines.data_changes import FileSummary, compare_files

LABEL_FIRST = Columns(header="absent")
ROWS = st.lists(st.tuples(st.sampled_from(["a", "b", " a", "c#d", ""]), st.sampled_from([*"pqrstuv", " p ", ""])))


def of(rows: list[tuple[str, str]]) -> tuple[Counter[str], dict[str, str], int]:
    """Rows by label, label of each text, and rows without one of them, the plain way."""
    kept = [(normalise(label), normalise(text)) for label, text in rows]
    kept = [(label, text) for label, text in kept if label and text]
    votes: dict[str, Counter[str]] = {}
    for label, text in kept:
        votes.setdefault(text, Counter())[label] += 1
    labels = {text: count.most_common(1)[0][0] for text, count in votes.items()}
    return Counter(label for label, _ in kept), labels, len(rows) - len(kept)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(old=ROWS, new=ROWS, examples=st.integers(0, 4))
def test_changes_are_those_of_a_plain_comparison(tmp_path: Path, old, new, examples):
    changes = compare_files(
        write_csv(tmp_path / "old.csv", old), write_csv(tmp_path / "new.csv", new), LABEL_FIRST, examples
    )
    (old_rows, before, old_empty), (new_rows, now, new_empty) = of(old), of(new)
    assert changes.old == FileSummary(old_rows.total(), old_empty, len(before), dict(old_rows))
    assert changes.new == FileSummary(new_rows.total(), new_empty, len(now), dict(new_rows))
    added = [(text, label) for text, label in now.items() if text not in before]
    removed = [(text, label) for text, label in before.items() if text not in now]
    moved = [(text, before[text], label) for text, label in now.items() if before.get(text, label) != label]
    assert (changes.added, changes.removed, changes.relabelled) == (len(added), len(removed), len(moved))
    assert Counter({(a, b): count for a, b, count in changes.moves}) == Counter((a, b) for _, a, b in moved)
    assert changes.added_examples == added[:examples]
    assert changes.removed_examples == removed[:examples]
    assert changes.relabelled_examples == moved[:examples]


def test_a_file_that_is_new_or_gone_is_compared_with_nothing(tmp_path: Path):
    file = write_csv(tmp_path / "rows.csv", [("a", "x"), ("b", "y")])
    new, gone = compare_files(None, file, LABEL_FIRST), compare_files(file, None, LABEL_FIRST)
    assert (new.old, new.added, new.removed) == (FileSummary(), 2, 0)
    assert (gone.new, gone.added, gone.removed) == (FileSummary(), 0, 2)


def test_an_unreadable_file_is_refused(tmp_path: Path):
    file = write_csv(tmp_path / "rows.csv", [("a", "x"), ("b", "y", "z")])
    with pytest.raises(UserError, match="line 2"):
        compare_files(None, file, LABEL_FIRST)
