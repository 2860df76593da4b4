"""Reports: one list of blocks, rendered as a self-contained HTML page or as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common.markdown import LONGEST, fenced, inline, link, visible

if TYPE_CHECKING:
    from jinja2 import Template

Cell = Any  # str, int, float, Share
LONGEST_MARKDOWN = 500_000  # bytes; a dashboard shows less


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
    """The first thing to read: what was decided, and why.

    Attributes:
        title: What was decided.
        text: Why.
        good: Whether it is what one wishes for.
        alarm: Whether it is a fault rather than a decision.
    """

    title: str
    text: str
    good: bool
    alarm: bool = False
    kind: str = "verdict"


@dataclass(frozen=True)
class Facts:
    """A few headline figures with their names."""

    items: Sequence[tuple[str, Cell]]
    kind: str = "facts"


@dataclass(frozen=True)
class Table:
    """A table; a long one folds away, and one of texts may be searched."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False
    searchable: bool = False
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
    """A drawing as SVG text, and in words what is to be seen."""

    title: str
    svg: str
    alternative: str = ""
    note: str = ""
    kind: str = "figure"


@dataclass(frozen=True)
class Diagram:
    """A drawing that GitHub makes of Mermaid code; texts in it are those of `mermaid_text`."""

    title: str
    code: str
    kind: str = "diagram"


@dataclass(frozen=True)
class Log:
    """Lines of a program's output."""

    title: str
    lines: Sequence[str]
    folded: bool = True
    kind: str = "log"


@dataclass(frozen=True)
class Links:
    """Places to go on from here: name and URL, or whatever else tells the place."""

    items: Sequence[tuple[str, str]]
    kind: str = "links"


Block = Verdict | Facts | Table | Heatmap | Figure | Diagram | Log | Links


@dataclass(frozen=True)
class Section:
    """Blocks that are shown or left out together.

    Attributes:
        name: What a reader is told is missing.
        blocks: Its blocks, in order.
        rank: 0 for what is never left out; the largest goes first.
    """

    name: str
    blocks: Sequence[Block]
    rank: int


def render_html(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """Return a page that needs no network and escapes every text in it."""
    return _template("html").render(title=title, subtitle=subtitle, blocks=blocks)


def render_markdown(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """Return the same report as GitHub-flavoured Markdown; drawings are left to the HTML page."""
    return render_sections(title, subtitle, [Section("", blocks, 0)], LONGEST_MARKDOWN)


def render_sections(title: str, subtitle: str, sections: Sequence[Section], longest: int) -> str:
    """Return a report in Markdown of at most ``longest`` bytes, without the sections that do not fit, which are named.

    Sections of rank 0 stay even when they alone are longer.
    """
    left_out: list[Section] = []
    while True:
        blocks = [block for section in sections if section not in left_out for block in section.blocks]
        names = ", ".join(section.name for section in sections if section in left_out)
        text = _template("md").render(title=title, subtitle=subtitle, blocks=blocks, left_out=names)
        rest = [section for section in sections if section.rank and section not in left_out]
        if len(text.encode()) <= longest or not rest:
            return text
        left_out.append(max(rest, key=lambda section: section.rank))


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
    environment.filters.update(cell=format_cell, numeric=_is_numeric, anchor=_anchor)
    environment.filters.update(markdown=_markdown_cell, fenced=fenced, link=link)
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


def mermaid_text(text: object) -> str:
    """Return a text as a label in Mermaid code may hold it."""
    return " ".join(re.sub(r"[^\w .,:%+/-]", " ", visible(str(text), 60)).split())


def _markdown_cell(value: Cell, longest: int = LONGEST) -> str:
    return inline(format_cell(value), longest)


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _is_numeric(value: Cell) -> bool:
    return isinstance(value, int | float | Share | Quantity) and not isinstance(value, bool)
