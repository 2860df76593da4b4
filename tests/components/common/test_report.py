"""Reports: whatever the texts hold, the page is inert and needs no network."""

import re
from html.parser import HTMLParser

import pytest

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.report import (
    Block,
    Facts,
    Figure,
    Heatmap,
    Share,
    Table,
    Verdict,
    format_bytes,
    format_cell,
    render_html,
    render_markdown,
)

EVIL = "<script>alert('x')</script>"
PIPES = "a|b\nc *d* _e_ [f](http://example.org) `g` \\h"


def blocks(text: str) -> list[Block]:
    """Return every kind of block, each with a text in every place."""
    return [
        Verdict(text, text, good=False),
        Facts([(text, text), ("figure", 0.5)]),
        Table(text, (text, "share"), [(text, Share(0.25))], note=text),
        Table(text, (text,), [(text,)], folded=True),
        Heatmap(text, [text, "b"], [[3, 0], [1, 2]]),
        Figure(text, plots.to_svg(plots.bars({text: {text: 1.0}})), text, text),
    ]


class Page(HTMLParser):
    """The tags and the texts of a page, and whatever it refers to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.references: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_texts_of_the_data_are_no_markup() -> None:
    html = render_html(EVIL, EVIL, blocks(EVIL))
    page = Page(html)
    assert "script" not in page.tags
    assert EVIL not in html
    assert sum(EVIL in text for text in page.texts) >= 12, "the text itself is shown in every block"


def test_page_refers_to_nothing_outside() -> None:
    html = render_html("Title", "subtitle", blocks("text"))
    outside = [reference for reference in Page(html).references if not reference.startswith("#")]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)", html)


def test_every_tag_of_the_page_is_closed() -> None:
    html = render_html("Title", "subtitle", blocks("text"))
    for tag in ("section", "table", "details", "tr", "td", "dl", "svg"):
        assert len(re.findall(rf"<{tag}[\s>]", html)) == html.count(f"</{tag}>"), tag


def test_markdown_cells_are_escaped() -> None:
    text = render_markdown(PIPES, PIPES, [Table("table", ("text", "n"), [(PIPES, 1)])])
    row = next(line for line in text.splitlines() if line.startswith("| a"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 3, "two cells"
    assert "a&#124;b c &#42;d&#42; &#95;e&#95; &#91;f&#93;(http:" in row


def test_markdown_holds_no_markup_of_the_data() -> None:
    text = render_markdown(EVIL, EVIL, blocks(EVIL))
    assert not re.search(r"(?<!\\)<script", text)
    assert "<summary>&#60;script&#62;" in text, "in a block of HTML a backslash escapes nothing"


def test_markdown_table_is_one_block() -> None:
    text = render_markdown("t", "s", [Table("numbers", ("name", "value"), [("a", 1), ("b", 2)], note="Note.")])
    lines = text.splitlines()
    start = lines.index("| name | value | ")
    assert lines[start : start + 4] == ["| name | value | ", "| --- | ---: |", "| a | 1 | ", "| b | 2 | "]
    assert lines[start + 4 : start + 6] == ["", "Note."]


@pytest.mark.parametrize("render", [render_html, render_markdown])
def test_same_blocks_give_the_same_report(render) -> None:
    assert render("t", "s", blocks("text")) == render("t", "s", blocks("text"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1234567, "1,234,567"),
        (0.98765, "0.9877"),
        (12.345, "12.35"),
        (1234.5, "1,234"),
        (True, "True"),
        ("text", "text"),
        (Share(0.123), "12.3%"),
    ],
)
def test_figures_read_well(value: object, shown: str) -> None:
    assert format_cell(value) == shown


def test_bytes_read_well() -> None:
    assert (format_bytes(1500), format_bytes(23_456_789)) == ("1.5 kB", "23.46 MB")


def test_empty_table_is_rendered() -> None:
    empty = [Table("Misclassified texts", ("text", "true"), [], folded=True)]
    assert "Misclassified texts" in render_html("t", "s", empty)
    assert "Misclassified texts" in render_markdown("t", "s", empty)
