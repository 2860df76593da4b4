"""Data of which too little is left: what is said of the rows that were read."""

from pathlib import Path
from typing import Any

import pytest
from staged import Rows, staged

from kfp_textclf.components.common.errors import UserError

TRAIN = [(f"{label} {number}", label) for label in "xy" for number in range(5)]
SWAPPED = "if they are swapped, set column_order, or text_column and label_column"


def refusal(tmp_path: Path, train: Rows, test: Rows | None = None, multi_label: str = "keep", **options: Any) -> str:
    sources = {"train": train} if test is None else {"train": train, "test": test}
    with staged(tmp_path, 13, multi_label, **sources) as data, pytest.raises(UserError) as raised:
        data.select(**options)
    return str(raised.value)


def test_no_row_is_left_of_none(tmp_path: Path) -> None:
    message = "train.csv: no usable row of {} read; each needs a text and a label"
    assert refusal(tmp_path, []) == message.format(0)
    assert refusal(tmp_path, [("", "x"), ("a", " ")]) == message.format(2)


@pytest.mark.parametrize(
    ("train", "options", "gone"),
    [
        (TRAIN, {"min_examples": 1000}, "10 of labels with fewer than 1000 rows (min_examples)"),
        ([("d", "x"), ("e", "y"), ("d", "x")], {}, "1 repeating an earlier text, 2 standing in the test file too"),
        ([("a", "x#y"), ("b", "y#x")], {"multi_label": "drop"}, "2 of several labels (multi_label=drop)"),
        (
            [*TRAIN, ("", "x"), ("d", "x"), ("f", "x#y")],
            {"min_examples": 6, "multi_label": "drop"},
            "1 without text or label, 1 of several labels (multi_label=drop), 1 standing in the test file too, "
            "10 of labels with fewer than 6 rows (min_examples)",
        ),
    ],
    ids=["rare", "leaked", "several labels", "everything"],
)
def test_no_row_is_left_of_some(tmp_path: Path, train: Rows, options: dict, gone: str) -> None:
    assert refusal(tmp_path, train, [("d", "x"), ("e", "y")], **options) == (
        f"train.csv: no usable row of {len(train)} read: {gone}; add rows, or change what drops them"
    )


def test_no_row_is_left_of_the_test_file(tmp_path: Path) -> None:
    message = refusal(tmp_path, TRAIN, [("d", "z"), ("e", "z")], unseen_labels="drop")
    assert message == (
        "test.csv: no usable row of 2 read: 2 of labels never in train (unseen_labels=drop); "
        "add rows, or change what drops them"
    )


def test_one_label_is_left(tmp_path: Path) -> None:
    message = "train.csv: 5 usable rows of 1 label; a classifier needs 2 labels or more"
    assert refusal(tmp_path, TRAIN[:5]) == f"{message}; add rows"
    assert refusal(tmp_path, [*TRAIN[:5], ("a", "y")], [("d", "x")], min_examples=2) == (
        f"{message} (6 read: 1 of labels with fewer than 2 rows (min_examples)); add rows, or change what drops them"
    )


def test_one_row_is_left_of_every_label(tmp_path: Path) -> None:
    message = "train.csv: 2 rows of 2 labels: too few to split; every label has a single row"
    assert refusal(tmp_path, [("a", "x"), ("b", "y")]) == f"{message}; add rows"
    assert refusal(tmp_path, TRAIN, validation_fraction=0.95, test_fraction=0.95) == (
        f"{message} (10 read: 8 held out (test_fraction)); add rows, or change what drops them"
    )


def test_columns_that_seem_swapped_are_told(tmp_path: Path) -> None:
    swapped = [(label, f"a text of {label}, number {number}") for number in range(10) for label in "xy"]
    message = refusal(tmp_path, swapped)
    assert message.startswith("train.csv: 2 rows of 2 labels: too few to split; every label has a single row (20 read:")
    assert message.endswith(f"18 repeating an earlier text); most labels are longer than their texts: {SWAPPED}")
    assert SWAPPED in refusal(tmp_path, swapped, swapped[:2])
