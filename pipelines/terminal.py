"""Reports on a terminal: the same blocks as in HTML and Markdown."""

import sys
from collections.abc import Sequence
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block, Cell, Facts, Quantity, Share, Table, Verdict, format_cell

WIDTH_OF_FILES = 160


def print_blocks(blocks: Sequence[Block]) -> None:
    """Print tables, figures and verdicts; what a drawing shows is left to the HTML page."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else WIDTH_OF_FILES, highlight=False)
    for block in blocks:
        if isinstance(block, Verdict):
            console.print(Text(plain(f"{block.title}: {block.text}"), style="bold"), soft_wrap=True)
        elif isinstance(block, Facts):
            for name, value in block.items:
                console.print(Text(plain(f"{name}: {format_cell(value)}")), soft_wrap=True)
        elif isinstance(block, Table):
            grid = Grid(box=box.SIMPLE_HEAD, title=Text(plain(block.title), style="bold"), title_justify="left")
            for index, column in enumerate(block.columns):
                numeric = bool(block.rows) and _is_number(block.rows[0][index])
                grid.add_column(Text(plain(column)), justify="right" if numeric else "left", overflow="fold")
            for row in block.rows:
                grid.add_row(*(Text(plain(format_cell(cell))) for cell in row))
            console.print(grid)
            if block.note:
                console.print(Text(plain(block.note)), soft_wrap=True)


def print_or_write(text: str, output: Path | None) -> None:
    """Print a report, or write it to a file.

    Raises:
        UserError: The file cannot be written.
    """
    if not output:
        print(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror}); choose another file") from error


def plain(text: str) -> str:
    """Return a text without characters that a terminal would act on: escapes, controls, changes of direction."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int | float | Share | Quantity)
