"""Reading texts and labels: CSV and TSV with or without a header, JSON Lines, Parquet."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError

MAX_CHARACTERS = 100_000  # of one text; a longer one is a broken file, not a text to classify
HEADER_MODES = ("auto", "present", "absent")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
USUAL_HEADERS = {"text", "label", "intent", "class", "category", "sentence", "utterance", "question", "query", "target"}


@dataclass(frozen=True)
class Columns:
    """Where the text and the label of a row are.

    Attributes:
        text: Name of the text column.
        label: Name of the label column.
        header: ``present``, ``absent``, or ``auto``: a first line that holds both names is a header.
        order: Names of the columns of a file without a header, in order.
    """

    text: str = "text"
    label: str = "label"
    header: str = "auto"
    order: tuple[str, ...] = ("label", "text")

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (``UserError``)."""
        if self.header not in HEADER_MODES:
            raise UserError(f"header={self.header!r}: is not one of {', '.join(HEADER_MODES)}")
        if self.text == self.label:
            raise UserError(f"text_column and label_column are both {self.text!r}; name two columns")
        if self.header == "absent" and not {self.text, self.label} <= set(self.order):
            raise UserError(f"column_order={list(self.order)}: must name {self.text!r} and {self.label!r}")


def read_rows(path: Path, columns: Columns) -> Iterator[tuple[str, str]]:
    """Yield (text, label) for each row of a file, as they stand there.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``.
        columns: Where text and label are.

    Raises:
        UserError: The file is unreadable, malformed, or lacks a column; the message names the line.
    """
    if path.suffix in DELIMITERS:
        rows = _read_delimited(path, columns, DELIMITERS[path.suffix])
    elif path.suffix == ".jsonl":
        rows = _read_json_lines(path, columns)
    elif path.suffix == ".parquet":
        rows = _read_parquet(path, columns)
    else:
        raise UserError(f"{path.name}: unknown file type {path.suffix!r}; use .csv, .tsv, .jsonl or .parquet")
    for place, text, label in rows:
        if len(text) > MAX_CHARACTERS:
            raise UserError(f"{path.name}: {place}: text of {len(text)} characters; at most {MAX_CHARACTERS} are taken")
        if "\0" in text or "\0" in label:
            raise UserError(
                f"{path.name}: {place}: holds a NUL byte; the file is damaged or not text, save it as UTF-8"
            )
        if not (text + label).isascii() and any("\ud800" <= character <= "\udfff" for character in text + label):
            raise UserError(f"{path.name}: {place}: holds half a surrogate pair; write the file as UTF-8")
        yield text, label


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines; line ends inside quotes are the csv module's business, so they are kept."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):  # noqa: B007  (the last value is used in the error)
                yield line
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path.name}: after line {number}: is not UTF-8; convert it, e.g. with iconv -t utf-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror}); is the file pinned?") from error


def _read_delimited(path: Path, columns: Columns, delimiter: str) -> Iterator[tuple[str, str, str]]:
    csv.field_size_limit(MAX_CHARACTERS * 4)
    reader = csv.reader(_lines(path), delimiter=delimiter, skipinitialspace=False, strict=True)
    names: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path.name}: line {start}: {error}; a quote may be unbalanced: double the quotes inside quoted fields"
            ) from error
        if not row:
            continue
        if names is None:
            is_header = _is_header(row, columns, path.name)
            names = [name.strip() for name in row] if is_header else list(columns.order)
            for wanted in (columns.text, columns.label):
                if wanted not in names:
                    raise UserError(
                        f"{path.name}: has no column {wanted!r} among {names}; set text_column and label_column"
                    )
            if is_header:
                continue
        if len(row) != len(names):
            raise UserError(f"{path.name}: line {start}: {len(row)} fields instead of {len(names)}; quote the text")
        yield f"line {start}", row[names.index(columns.text)], row[names.index(columns.label)]


def _is_header(row: list[str], columns: Columns, name: str) -> bool:
    if columns.header != "auto":
        return columns.header == "present"
    cells = [cell.strip() for cell in row]
    if columns.text in cells and columns.label in cells:
        return True
    if all(cell.lower() in USUAL_HEADERS for cell in cells):
        raise UserError(f"{name}: line 1 {cells} looks like a header; set text_column and label_column to its names")
    return False


def _read_json_lines(path: Path, columns: Columns) -> Iterator[tuple[str, str, str]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path.name}: line {number}: is not JSON ({error})") from error
        yield f"line {number}", *_fields(value, columns, f"{path.name}: line {number}")


def _read_parquet(path: Path, columns: Columns) -> Iterator[tuple[str, str, str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        missing = {columns.text, columns.label} - set(file.schema_arrow.names)
        if missing:
            raise UserError(f"{path.name}: has no column {sorted(missing)[0]!r} among {file.schema_arrow.names}")
        number = 0
        for batch in file.iter_batches(columns=[columns.text, columns.label]):
            for value in batch.to_pylist():
                number += 1
                yield f"row {number}", *_fields(value, columns, f"{path.name}: row {number}")
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path.name}: is not a readable Parquet file ({error})") from error


def _fields(value: Any, columns: Columns, place: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: is not an object with {columns.text!r} and {columns.label!r}")
    for name in (columns.text, columns.label):
        if name not in value:
            raise UserError(f"{place}: has no {name!r}; set text_column and label_column")
    text, label = value[columns.text], value[columns.label]
    if text is not None and not isinstance(text, str):
        raise UserError(f"{place}: {columns.text!r} is {type(text).__name__}, not a string")
    if isinstance(label, float | list | dict):
        raise UserError(f"{place}: {columns.label!r} is {type(label).__name__}, not a name")
    return text or "", "" if label is None else str(label)
