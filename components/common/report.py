"""Reports: one list of blocks, rendered as a self-contained HTML page or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

Cell = Any  # str, int, float, Share


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1, shown as a bar."""

    value: float

    def __str__(self) -> str:
        """Return the share in percent."""
        return f"{self.value:.1%}"


class Quantity(str):
    """A figure with its unit, aligned as numbers are."""


@dataclass(frozen=True)
class Verdict:
    """The first thing to read: what was decided, and why."""

    title: str
    text: str
    good: bool
    kind: str = "verdict"


@dataclass(frozen=True)
class Facts:
    """A few headline figures with their names."""

    items: Sequence[tuple[str, Cell]]
    kind: str = "facts"


@dataclass(frozen=True)
class Table:
    """A table; a long one folds away."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Heatmap:
    """A square matrix of counts: rows are true labels, columns predicted ones."""

    title: str
    labels: Sequence[str]
    matrix: Sequence[Sequence[int]]
    kind: str = "heatmap"

    def shade(self, row: int, column: int) -> float:
        """Return how much of its row a cell holds, from 0 to 1."""
        return self.matrix[row][column] / max(1, sum(self.matrix[row]))


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG text, and the name of the same drawing as a file beside the report."""

    title: str
    svg: str
    file: str = ""
    note: str = ""
    kind: str = "figure"


Block = Verdict | Facts | Table | Heatmap | Figure


def render_html(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """Return a page that needs no network and escapes every text in it."""
    return _template("html").render(title=title, subtitle=subtitle, blocks=blocks)


def render_markdown(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """Return the same report as GitHub-flavoured Markdown; drawings are left to the HTML page."""
    return _template("md").render(title=title, subtitle=subtitle, blocks=blocks)


@cache
def _template(suffix: str) -> "Template":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kfp_textclf.components.common", "templates"),
        autoescape=suffix == "html",  # noqa: S701  (Markdown cells are escaped by their own filter)
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(cell=format_cell, markdown=_markdown_cell, numeric=_is_numeric)
    return environment.get_template(f"report.{suffix}.j2")


def format_cell(value: Cell) -> str:
    """Return a figure as a reader wants it: grouped thousands, four significant decimals."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def format_bytes(size: float) -> str:
    """Return a size in kB or MB (powers of ten)."""
    return f"{size / 1e6:,.2f} MB" if size >= 1e6 else f"{size / 1e3:,.1f} kB"


def _markdown_cell(value: Cell) -> str:
    text = format_cell(value)
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def _is_numeric(value: Cell) -> bool:
    return isinstance(value, int | float | Share | Quantity) and not isinstance(value, bool)
