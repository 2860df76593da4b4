"""Headers that name columns of their own: told from a first row by the rows below."""

import re
from collections.abc import Mapping
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.readers import DELIMITERS, USUAL_HEADERS, Columns, place_of
from kfp_textclf.components.prepare.staged_rows import StagedRows

NAME = re.compile(r"[^\W\d][\w.-]*(?: [\w.-]+){0,2}")  # of a column: up to three words
FEW_WORDS = 0.1  # share of the texts that are a word; where more are, a word as text says nothing


def refuse_header(rows: StagedRows, files: Mapping[str, Path], columns: Columns) -> None:
    """Refuse a file whose first line was read as a row but names columns, when ``header`` is ``auto``.

    It does if its label is that of no other row, in any file, both cells can be names, and one of them is usual for a
    column or both are single words where texts are longer.

    Args:
        rows: The staged rows.
        files: The file of each source.
        columns: Where text and label are.

    Raises:
        UserError: The first line is a header; the message names it and how to say what it is.
    """
    if columns.header != "auto":
        return
    for source, path in files.items():
        place, text, label = rows.first(source) or (0, "", "")
        if place == 1 and path.suffix.lower() in DELIMITERS and _names_columns(rows, text, label):
            raise UserError(
                f"{place_of(path, 1)}: label {label!r}, text {text!r} looks like a header, no other row has that label;"
                " set prepare.header=present, text_column and label_column, or prepare.header=absent if it is a row"
            )


def _names_columns(rows: StagedRows, text: str, label: str) -> bool:
    cells = (label, text)
    if not all(NAME.fullmatch(cell) for cell in cells) or rows.staged("label = ? AND text != ?", label, text):
        return False
    others = rows.staged("text != ?", text)
    if any(cell.lower() in USUAL_HEADERS for cell in cells):
        return others > 0
    words = rows.staged("text != ? AND instr(text, ' ') = 0", text)
    return others > 0 and " " not in label + text and words <= FEW_WORDS * others
