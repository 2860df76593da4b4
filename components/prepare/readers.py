"""Reading texts and labels: CSV and TSV with or without a header, JSON Lines, Parquet."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError

MAX_CHARACTERS = 100_000  # of one text; a longer one is a broken file, not a text to classify
MAX_LABEL = 200  # characters of a label; a longer one is a text in the wrong column
MAX_UNPACKED, MAX_RATIO = 64 << 20, 100  # bytes, and times the packed size: a Parquet column beyond both is a bomb
MAX_LINE = 10_000_000  # characters of one line, other columns included
READABLE = (".csv", ".tsv", ".jsonl", ".parquet")
HEADER_MODES = ("auto", "present", "absent")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz")
USUAL_HEADERS = {"text", "label", "intent", "class", "category", "sentence", "utterance", "question", "query", "target"}


@dataclass(frozen=True)
class Columns:
    """Where the text and the label of a row are.

    Attributes:
        text: Name of the text column.
        label: Name of the label column.
        header: ``present``, ``absent``, or ``auto``: a first line that holds both names is a header, and one that
            holds one of them is refused.
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


def read_rows(path: Path, columns: Columns) -> Iterator[tuple[int, str, str]]:
    """Yield (number, text, label) for each row of a file, as they stand there, without ever holding the file.

    The number is that of the line where the row starts, or of the row in a Parquet file; see `place_of`.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``, in capitals or not.
        columns: Where text and label are.

    Raises:
        UserError: The file is unreadable, malformed, or lacks a column; the message names the line.
    """
    suffix = path.suffix.lower()
    if suffix in DELIMITERS:
        rows = _read_delimited(path, columns, DELIMITERS[suffix])
    elif suffix == ".jsonl":
        rows = _read_json_lines(path, columns)
    elif suffix == ".parquet":
        rows = _read_parquet(path, columns)
    else:
        raise UserError(f"{path.name}: {_unknown_type(path)}")
    for number, text, label in rows:
        if len(text) > MAX_CHARACTERS:
            raise UserError(
                f"{place_of(path, number)}: text of {len(text)} characters; at most {MAX_CHARACTERS} are taken"
            )
        if len(label) > MAX_LABEL and len(label.strip()) > MAX_LABEL:
            raise UserError(
                f"{place_of(path, number)}: label of {len(label.strip())} characters; at most {MAX_LABEL} are taken. "
                "If text and label are swapped, set column_order, or text_column and label_column"
            )
        if "\0" in text or "\0" in label:
            raise UserError(
                f"{place_of(path, number)}: holds a NUL byte; the file is damaged or not text, save it as UTF-8"
            )
        if not (text + label).isascii() and any("\ud800" <= character <= "\udfff" for character in text + label):
            raise UserError(f"{place_of(path, number)}: holds half a surrogate pair; write the file as UTF-8")
        yield number, text, label


def place_of(path: Path, number: int) -> str:
    """Return how a message names the place of a row."""
    return f"{path.name}: {'row' if path.suffix.lower() == '.parquet' else 'line'} {number}"


def _unknown_type(path: Path) -> str:
    return f"unknown file type {path.suffix!r}; use .csv, .tsv, .jsonl or .parquet"


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines; line ends inside quotes are the csv module's business, so they are kept."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            while line := file.readline(MAX_LINE):
                number += 1
                if len(line) == MAX_LINE:
                    raise UserError(f"{path.name}: line {number}: longer than {MAX_LINE} characters; break the lines")
                yield line
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path.name}: after line {number}: is not UTF-8; convert it, e.g. with iconv -t utf-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read ({error.strerror}); is the file pinned?") from error


def _read_delimited(path: Path, columns: Columns, delimiter: str) -> Iterator[tuple[int, str, str]]:
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
            _require_columns(path.name, names, columns)
            if is_header:
                continue
        if columns.header != "absent" and [cell.strip() for cell in row] == names:
            raise UserError(f"{path.name}: line {start}: repeats the header; remove the line")
        if len(row) != len(names):
            raise UserError(f"{path.name}: line {start}: {len(row)} fields instead of {len(names)}; quote the text")
        yield start, row[names.index(columns.text)], row[names.index(columns.label)]


def _require_columns(name: str, names: list[str], columns: Columns) -> None:
    for wanted in (columns.text, columns.label):
        if wanted not in names:
            raise UserError(f"{name}: has no column {wanted!r} among {names}; set text_column and label_column")
        if names.count(wanted) > 1:
            raise UserError(f"{name}: has {names.count(wanted)} columns {wanted!r} among {names}; rename all but one")


def _is_header(row: list[str], columns: Columns, name: str) -> bool:
    if columns.header != "auto":
        return columns.header == "present"
    cells = [cell.strip() for cell in row]
    known = [wanted in cells for wanted in (columns.text, columns.label)]
    if all(known):
        return True
    if any(known) or all(cell.lower() in USUAL_HEADERS for cell in cells):
        raise UserError(f"{name}: line 1 {cells} looks like a header; set text_column and label_column to its names")
    return False


def _read_json_lines(path: Path, columns: Columns) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path.name}: line {number}: is not JSON ({error})") from error
        yield number, *_fields(value, columns, f"{path.name}: line {number}")


def _read_parquet(path: Path, columns: Columns) -> Iterator[tuple[int, str, str]]:
    """Read a row group's pages one by one; texts stay dictionary-encoded, so that a repeated one is held once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [columns.text, columns.label]
    try:
        metadata = pq.read_metadata(path)
        names = metadata.schema.to_arrow_schema().names
        _require_columns(path.name, names, columns)
        _refuse_bomb(path.name, metadata)
        leaves = {metadata.schema.column(place).path for place in range(metadata.num_columns)}
        encoded = [name for name in wanted if name in leaves]
        file = pq.ParquetFile(path, metadata=metadata, read_dictionary=encoded, buffer_size=1 << 20, pre_buffer=False)
        number = 0
        for batch in file.iter_batches(batch_size=4096, columns=wanted, use_threads=False):
            texts, labels = (batch.column(name) for name in wanted)
            for text, label in zip(texts, labels, strict=True):
                number += 1
                place = f"{path.name}: row {number}"
                value = {name: _python(cell, name, place) for name, cell in zip(wanted, (text, label), strict=True)}
                yield number, *_fields(value, columns, place)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path.name}: is not a readable Parquet file ({error})") from error


def _python(cell: Any, name: str, place: str) -> Any:
    """Return the Python value of a Parquet cell: a date may be out of range, a string not UTF-8."""
    try:
        return cell.as_py()
    except (ArithmeticError, ValueError) as error:
        raise UserError(f"{place}: {name!r} cannot be read ({error}); write the column as strings in UTF-8") from error


def _refuse_bomb(name: str, metadata: Any) -> None:
    """Refuse a file that unpacks to far more than it is, as Apache POI does at the same ratio (ZipSecureFile)."""
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            if unpacked > MAX_UNPACKED and unpacked > MAX_RATIO * packed:
                raise UserError(
                    f"{name}: row group {group} unpacks from {packed} to {unpacked} bytes; write it without compression"
                )


def _fields(value: Any, columns: Columns, place: str) -> tuple[str, str]:
    if not isinstance(value, dict):
        raise UserError(f"{place}: is not an object with {columns.text!r} and {columns.label!r}")
    for name in (columns.text, columns.label):
        if name not in value:
            raise UserError(f"{place}: has no {name!r}; set text_column and label_column")
    text, label = value[columns.text], value[columns.label]
    if text is not None and not isinstance(text, str):
        raise UserError(f"{place}: {columns.text!r} is {type(text).__name__}, not a string; write texts as strings")
    if isinstance(label, float | list | dict | bytes):
        fix = "whole numbers or strings (pandas: astype('Int64'))" if isinstance(label, float) else "strings"
        raise UserError(f"{place}: {columns.label!r} is {type(label).__name__}, not a name; write labels as {fix}")
    return text or "", "" if label is None else str(label)


def source_files(directory: Path, train_file: str, test_file: str) -> dict[str, Path]:
    """Return the file of ``train`` and, if there is one, of ``test``.

    Args:
        directory: The raw data set.
        train_file: Name of the training file; empty when there is one file alone.
        test_file: Name of the held-out file; empty for none.

    Raises:
        UserError: There is no such file, or it cannot be told which.
    """
    readable = (path for path in directory.rglob("*") if path.suffix.lower() in READABLE)
    names = sorted(path.relative_to(directory).as_posix() for path in readable)
    listed = ", ".join(names) or "no readable file"
    if not train_file:
        if len(names) != 1:
            raise UserError(f"raw data set holds {listed}; set train_file to one of them")
        train_file = names[0]
    for parameter, name in (("train_file", train_file), ("test_file", test_file)):
        if name and name not in names:
            file = directory / name
            packed = file.suffix.lower() in PACKED
            if file.is_file() and not packed and file.suffix.lower() not in READABLE:
                raise UserError(f"{parameter}={name!r}: {_unknown_type(file)}")
            hint = "; unpack it" if packed and file.is_file() else ""
            raise UserError(f"{parameter}={name!r}: is not in the raw data set ({listed}){hint}")
    return {source: directory / name for source, name in (("train", train_file), ("test", test_file)) if name}
