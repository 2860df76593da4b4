"""Labelling texts with a published model, from the command line."""

import contextlib
import csv
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from kfp_textclf.components.common.artifacts import MANIFEST, verified
from kfp_textclf.components.common.encoding import is_utf8
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier

T = TypeVar("T")
CHUNK_ROWS = 4096  # scored at a time, so that memory does not grow with the input
ADDED = ("predicted_label", "probability")  # columns of a CSV that is written back
ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def predict_texts(model: str | Path, texts: Iterable[str], output: TextIO, place: str = "argument") -> None:
    r"""Write a line ``label<TAB>probability<TAB>text`` for each text, in order and in UTF-8.

    Args:
        model: Directory of the model, or URI of a published one.
        texts: What to label; a tab, line end or backslash in it is written as ``\t``, ``\n``, ``\r`` or ``\\``.
        output: Where to write.
        place: What a message calls a text, before its number.

    Raises:
        UserError: The model or a text cannot be used, or the output not be written.
    """
    classifier = open_model(model)
    for chunk in _chunks(_readable(texts, place)):
        answers = _answers(classifier, chunk)
        with _writing(output):
            for text, (label, probability) in zip(chunk, answers, strict=True):
                output.write(f"{label.translate(ESCAPES)}\t{probability}\t{text.translate(ESCAPES)}\n")


def predict_csv(model: str | Path, path: Path, column: str, output: TextIO) -> None:
    """Write a CSV again with the columns ``predicted_label`` and ``probability`` behind its own; no empty lines.

    Args:
        model: Directory of the model, or URI of a published one.
        path: CSV in UTF-8 with a header.
        column: Name of the column that holds the texts.
        output: Where to write.

    Raises:
        UserError: The model, the file or a row of it cannot be used, or the output not be written.
    """
    rows = _csv_rows(path)
    header = next(rows, [])
    if column not in header:
        raise UserError(f"{path}: has no column {column!r} among {header}; set --column")
    names = [*header, *ADDED]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path}: line 1: two columns {twice[0]!r}, counting {' and '.join(ADDED)}; rename one")
    classifier, place = open_model(model), header.index(column)
    with _writing(output):
        _write_row(output, names)
    for chunk in _chunks(rows):
        answers = _answers(classifier, [row[place] for row in chunk])
        with _writing(output):
            for row, answer in zip(chunk, answers, strict=True):
                _write_row(output, [*row, *answer])


def lines_of(file: TextIO) -> Iterator[str]:
    """Yield the lines of a file, read as UTF-8 whatever the locale; other bytes come as lone surrogates."""
    if isinstance(file, io.TextIOWrapper):
        file.reconfigure(encoding="utf-8-sig", errors="surrogateescape")
    for line in file:
        yield line.rstrip("\r\n")


def open_model(model: str | Path) -> OnnxClassifier:
    """Open a model, verified when it carries a manifest.

    Args:
        model: Its directory, or the ``file://`` or ``s3://`` URI of a published version or of a store.

    Raises:
        UserError: The model is missing, damaged or none.
    """
    if "://" in str(model):
        from kfp_textclf.components.common.published import open_version

        return OnnxClassifier(open_version(str(model)))
    directory = Path(model)
    if not directory.is_dir():
        raise UserError(
            f"{directory}: is no directory; name that of a published model, e.g. runs/latest/models/published"
        )
    return OnnxClassifier(verified(directory) if (directory / MANIFEST).is_file() else directory)


def _answers(classifier: OnnxClassifier, texts: list[str]) -> list[tuple[str, str]]:
    """Return label and probability of each text."""
    answers = []
    for row in classifier.probabilities(texts):
        best = int(row.argmax())
        if math.isnan(row[best]):
            raise UserError(f"{classifier.path}: gives no probabilities but NaN; export the model again")
        answers.append((classifier.labels[best], f"{row[best]:.4f}"))
    return answers


def _readable(texts: Iterable[str], place: str) -> Iterator[str]:
    for number, text in enumerate(texts, start=1):
        if not is_utf8(text):
            raise UserError(f"{place} {number}: is not UTF-8; save the texts as UTF-8, e.g. with iconv -t utf-8")
        yield text


def _csv_rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV, the header first, all as long as that; empty lines are no rows."""
    from kfp_textclf.components.prepare.readers import MAX_CHARACTERS

    csv.field_size_limit(MAX_CHARACTERS * 4)  # as data sets are read
    line, width = 1, 0  # line where a row starts
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if not is_utf8("".join(row)):
                    raise UserError(f"{path}: is not a CSV file in UTF-8: line {line}; convert it with iconv -t utf-8")
                width = width or len(row)
                if row and len(row) != width:
                    raise UserError(f"{path}: line {line}: {len(row)} fields instead of {width}; quote the text")
                if row:
                    yield row
                line = reader.line_num + 1
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except csv.Error as error:
        raise UserError(
            f"{path}: line {line}: {error}; a quote may be unbalanced: double the quotes inside quoted fields"
        ) from error


def _write_row(output: TextIO, row: list[str]) -> None:
    bare = any("\r" in field for field in row)  # which csv quotes as part of a line end alone, yet reads as one
    csv.writer(output, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerow(row)


@contextlib.contextmanager
def _writing(output: TextIO) -> Iterator[None]:
    """Have what the block writes be written when it ends, in UTF-8 whatever the locale."""
    try:
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(encoding="utf-8")
        yield
        output.flush()
    except BrokenPipeError:  # who reads has enough
        raise
    except OSError as error:
        with contextlib.suppress(OSError):
            output.close()  # or Python would try once more at its end
        raise UserError(f"standard output: cannot be written ({error.strerror}); free space or name a file") from error


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK_ROWS)):
        yield chunk
