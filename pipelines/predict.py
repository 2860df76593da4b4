"""Labelling texts with a published model, from the command line."""

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from kfp_textclf.components.common.artifacts import MANIFEST, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier

T = TypeVar("T")
CHUNK_ROWS = 4096  # scored at a time, so that memory does not grow with the input


def predict_texts(model: str | Path, texts: Iterable[str], output: TextIO) -> None:
    """Write a line ``label<TAB>probability<TAB>text`` for each text, in order.

    Raises:
        UserError: The model cannot be used.
    """
    classifier = open_model(model)
    for chunk in _chunks(texts):
        for text, (label, probability) in zip(chunk, _answers(classifier, chunk), strict=True):
            output.write(f"{label}\t{probability:.4f}\t{text}\n")


def predict_csv(model: str | Path, path: Path, column: str, output: TextIO) -> None:
    """Write a CSV again with the columns ``predicted_label`` and ``probability`` behind its own.

    Args:
        model: Directory of the model, or URI of a published one.
        path: CSV in UTF-8 with a header.
        column: Name of the column that holds the texts.
        output: Where to write.

    Raises:
        UserError: The model or the file cannot be used.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            fields = list(reader.fieldnames or [])
            if column not in fields:
                raise UserError(f"{path}: has no column {column!r} among {fields}; set --column")
            classifier = open_model(model)
            writer = csv.writer(output, lineterminator="\n")
            writer.writerow([*fields, "predicted_label", "probability"])
            for rows in _chunks(reader):
                answers = _answers(classifier, [row[column] or "" for row in rows])
                for row, (label, probability) in zip(rows, answers, strict=True):
                    writer.writerow([*(row[name] for name in fields), label, f"{probability:.4f}"])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not a CSV file in UTF-8 ({error})") from error


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


def _answers(classifier: OnnxClassifier, texts: list[str]) -> Iterator[tuple[str, float]]:
    for row in classifier.probabilities(texts):
        best = int(row.argmax())
        yield classifier.labels[best], float(row[best])


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK_ROWS)):
        yield chunk
