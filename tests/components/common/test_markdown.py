"""Texts of others in Markdown, rendered by GitHub's own parser (cmark-gfm)."""

import re
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_page import HOSTILE, Rendered

from kfp_textclf.components.common.markdown import JOINER, fenced, inline, link, log_lines
from kfp_textclf.components.common.report import (
    Block,
    Facts,
    Links,
    Log,
    Section,
    Table,
    Verdict,
    mermaid_text,
    render_markdown,
    render_sections,
)

PIECES = st.lists(
    st.sampled_from(
        [
            *HOSTILE,
            "@",
            "#1",
            "|",
            "`",
            "\\",
            "<",
            ">",
            "&",
            "\n",
            "\r",
            "[",
            "](",
            ")",
            "http",
            "://",
            "www.",
            " ",
            "a",
        ]
    )
    | st.text(max_size=8),
    max_size=8,
).map("".join)


def blocks(text: str) -> list[Block]:
    return [
        Verdict(text, text, good=False),
        Facts([(text, text)]),
        Links([(text, f"s3://{text}")]),
        Table(text, (text, "b"), [(text, 1), ("a", text)], note=text),
        Table(text, (text,), [(text,)], folded=True),
        Log(text, log_lines(text)),
        Log(text, log_lines(text), folded=False),
    ]


def inert(text: str) -> None:
    page = Rendered(render_markdown(text, text, blocks(text)))
    assert page.tags == Rendered(render_markdown("x", "x", blocks("x"))).tags
    assert not re.search(r"@\w|#\d|GH-\d|www\.|(?:https?|ftp)://", page.prose, re.IGNORECASE)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text: str) -> None:
    inert(text or "x")


@settings(max_examples=150, deadline=None)
@given(text=PIECES)
def test_no_text_is_markup(text: str) -> None:
    inert(f"{text}x")  # an empty text leaves out the paragraph


@settings(max_examples=300, deadline=None)
@given(text=PIECES)
def test_texts_can_be_read(text: str) -> None:
    shown = Rendered(f"x{inline(text, 10**6)}x").all.replace(JOINER, "").strip()
    plain = re.sub(r"[^a-z0-9|@`<>*]", "", normalize("NFC", text))
    assert re.sub(r"[^a-z0-9|@`<>*]", "", shown) == f"x{plain}x"


@pytest.mark.parametrize("name", ["onnx_int8", "a_b_c", "3.5e-05", "train-classifier", "C++", "(a, b)"])
def test_ordinary_names_stay_as_they_are(name: str) -> None:
    assert inline(name) == name


def test_long_texts_are_cut() -> None:
    assert inline("ab " * 1000, 10) == "ab ab ab …"


@pytest.mark.parametrize("text", ["```", "a\n````\nb", "`" * 50])
def test_code_cannot_end_its_block(text: str) -> None:
    assert Rendered(fenced(f"{text}\n@user")).prose.strip() == ""


def test_logs_read_as_on_a_terminal() -> None:
    assert log_lines("a\r\n 10%\r 20%\n\n\x1b[1mbold\x1b[0m\n  indented\n") == ["a", " 20%", "bold", "  indented"]


def test_links_go_to_web_pages_alone() -> None:
    assert (
        link("https://kfp.example:8443/#/runs/details/1", "run") == "[run](https://kfp.example:8443/#/runs/details/1)"
    )
    for url in ("javascript:alert(1)", "s3://bucket/x", "https://a b", "https://x)[@user](y", "https://u:p@host/"):
        assert "a" not in Rendered(link(url, "run")).tags, url


def test_labels_of_diagrams_hold_no_code() -> None:
    assert mermaid_text('x"]; click s0 "javascript:alert(1)"') == "x click s0 javascript:alert 1"


def test_sections_are_left_out_by_rank_and_named() -> None:
    sections = [
        Section("verdict", [Verdict("Promote", "good", good=True)], 0),
        Section("log", [Log("Log", ["y" * 3000])], 9),
        Section("data", [Table("Data", ("a",), [("z" * 200,)])], 4),
    ]
    whole = render_sections("t", "s", sections, 10_000)
    assert "Left out" not in whole
    shorter = render_sections("t", "s", sections, 2_000)
    assert "zzz" in shorter
    assert "Left out, for the length of this report: log." in shorter
    shortest = render_sections("t", "s", sections, 10)
    assert "Promote" in shortest
    assert "Left out, for the length of this report: log, data." in shortest
