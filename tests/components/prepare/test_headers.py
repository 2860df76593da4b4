"""First lines that name columns without being told, and those that are rows."""

from pathlib import Path

import pytest
from stage_inputs import as_csv

from kfp_textclf.components.common.data_checks import CheckSettings
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.headers import refuse_header
from kfp_textclf.components.prepare.readers import Columns
from kfp_textclf.components.prepare.row_checks import RowChecks
from kfp_textclf.components.prepare.selection import stage_file
from kfp_textclf.components.prepare.staged_rows import staged_rows

ROWS = [("ab"[number % 2], f"text {number}") for number in range(20)]
Rows = list[tuple[str, str]]


def look(tmp_path: Path, train: Rows, test: Rows | None = None, header: str = "auto", suffix: str = ".csv") -> None:
    """Stage files of these rows (label, text), and look for headers."""
    files, columns = {}, Columns(header=header)
    for source, rows in {"train": train, "test": test}.items():
        if rows is not None:
            files[source] = tmp_path / f"{source}{suffix}"
            files[source].write_bytes(as_csv(rows, delimiter="\t" if suffix == ".tsv" else ","))
    with staged_rows(tmp_path / "out", 13) as table:
        for source, path in files.items():
            stage_file(table, source, path, columns, "keep", RowChecks(CheckSettings.parse()))
        refuse_header(table, files, columns)


@pytest.mark.parametrize(
    "header",
    [("category", "message"), ("v1", "v2"), ("Intent", "User utterance"), ("classe", "texte"), ("class_name", "body")],
)
def test_header_of_other_names_is_refused(tmp_path: Path, header: tuple[str, str]) -> None:
    with pytest.raises(UserError) as raised:
        look(tmp_path, [header, *ROWS])
    assert str(raised.value) == (
        f"train.csv: line 1: label '{header[0]}', text '{header[1]}' looks like a header, no other row has that label; "
        "set prepare.header=present, text_column and label_column, or prepare.header=absent if it is a row"
    )
    look(tmp_path, [header, *ROWS], header="absent")


def test_header_is_one_however_often_it_stands_there(tmp_path: Path) -> None:
    header = ("v1", "v2")
    with pytest.raises(UserError, match=r"train\.csv: line 1: label 'v1'"):
        look(tmp_path, [header, *ROWS, header, *ROWS], [header, *ROWS])
    with pytest.raises(UserError, match=r"test\.csv: line 1: label 'v1'"):
        look(tmp_path, ROWS, [header, *ROWS])
    with pytest.raises(UserError, match=r"train\.tsv: line 1: label 'v1'"):
        look(tmp_path, [header, *ROWS], suffix=".tsv")


def test_header_is_found_over_some_texts_of_one_word(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="looks like a header"):
        look(tmp_path, [("v1", "v2"), *ROWS, ("a", "ok"), ("b", "yes")])


@pytest.mark.parametrize(
    "first",
    [
        ("atis_flight", " i want to fly from boston"),
        ("greeting", "good morning"),
        ("question", "what does it cost"),
        ("a", "hi"),
        ("a", "message"),
        ("1", "2"),
        ("smile", ":-)"),
    ],
    ids=["ATIS", "single row of a class", "usual name", "word", "label of others", "numbers", "no name"],
)
def test_row_is_no_header(tmp_path: Path, first: tuple[str, str]) -> None:
    look(tmp_path, [first, *ROWS])


def test_word_is_a_row_where_texts_are_words(tmp_path: Path) -> None:
    look(tmp_path, [("japanese", "sato"), *(("italian", f"rossi{number}") for number in range(9))])


def test_label_that_another_file_has_is_no_header(tmp_path: Path) -> None:
    test = [("greeting", "hi"), *ROWS]
    look(tmp_path, [*ROWS, ("greeting", "good morning")], test)
    with pytest.raises(UserError, match=r"test\.csv: line 1: label 'greeting'"):
        look(tmp_path, ROWS, test)


def test_file_of_one_row_or_none_has_no_header(tmp_path: Path) -> None:
    look(tmp_path, [("category", "message")])
    look(tmp_path, [])


def test_header_that_was_read_as_one_is_no_row(tmp_path: Path) -> None:
    look(tmp_path, [("label", "text"), ("v1", "v2"), *ROWS])
