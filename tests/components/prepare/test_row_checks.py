"""What the checks of single rows find, and what they leave alone."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_textclf.components.common.data_checks import EXAMPLES, ROW_CHECKS, CheckSettings, Finding
from kfp_textclf.components.common.texts import normalise
from kfp_textclf.components.prepare.row_checks import RowChecks

CLEAN = [
    "show me flights from boston to denver",
    "- what does it cost? (in dollars)",
    "@anna: hello (again)",
    "я хочу билет",
    "明日の便は",
    "Zürich, São Paulo & Âge d'or; NÃO",
    "a < b and c > d",
    "half = 5",
    "x=1",
    "I pay 20 € at 10:30",
]
FOUND = {
    "empty": [""],
    "short_text": ["a"],
    "long_text": ["word " * 401],
    "control_characters": ["to\x07boston", "\x1b[31mred", "abc\u202egpj.exe"],
    "replacement_characters": ["Z\ufffdrich", "ZÃ¼rich", "itâ€™s", "25Â°C"],
    "no_letters": ["12 345", "?!...", "👍👍"],
    "markup": ["<b>bold", "<script>x</script>", "a &nbsp; b", "<img src=x onerror=y>", "< script src=x", "</p>"],
    "formula": ["=CMD('x')", "=1+2", "=cmd|' /C calc'!A0", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3+cmd|x"],
    "link": ["see https://example.org/x", "WWW.example.org now"],
    "email_address": ["write to jane.doe+x@mail.example.org please"],
}


def check(texts: list[str], **levels: str) -> dict[str, Finding]:
    checks = RowChecks(CheckSettings.parse(levels))
    checks.add(Path("a.csv"), range(1, len(texts) + 1), [normalise(text) for text in texts], ["x"] * len(texts))
    return {finding.check: finding for finding in checks.findings()}


def test_ordinary_texts_of_any_language_pass() -> None:
    assert {name: finding.examples for name, finding in check(CLEAN).items() if finding.count} == {}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FOUND.items() for text in texts])
def test_each_check_finds_what_it_is_for(name: str, text: str) -> None:
    found = check(["a good text", text, "another"])[name]
    assert (found.count, found.share) == (1, 1 / 3)
    assert found.examples[0].startswith("a.csv: line 2: ")
    assert found.examples[0].isprintable()


def test_label_of_several_is_found() -> None:
    checks = RowChecks(CheckSettings.parse())
    checks.add(Path("a.parquet"), [7, 8], ["a text", "a text"], ["x", "x#y"])
    (finding,) = (finding for finding in checks.findings() if finding.check == "multi_label")
    assert finding.examples == ("a.parquet: row 8: 'a text' as 'x#y'",)


def check_labels(labels: list[str]) -> dict[str, Finding]:
    checks = RowChecks(CheckSettings.parse())
    checks.add(Path("a.csv"), range(1, len(labels) + 1), ["a text"] * len(labels), list(map(normalise, labels)))
    return {finding.check: finding for finding in checks.findings() if finding.count}


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("control_characters", "\u202egnp"),
        ("control_characters", "\x1b[31m"),
        ("control_characters", "\u200b"),
        ("control_characters", "fli\u200bght"),
        ("control_characters", "\ufeffflight"),
        ("control_characters", "\u200d\u200c"),
        ("formula", "=1+1"),
        ("formula", "@SUM(A1)"),
        ("formula", "-2+3"),
        ("formula", "+cmd|x"),
        ("formula", "-negative"),
    ],
)
def test_label_is_checked_and_named_as_one(name: str, label: str) -> None:
    found = check_labels(["flight", label, label])
    assert list(found) == [name]
    assert (found[name].count, found[name].share) == (2, 2 / 3)
    assert found[name].examples == tuple(f"a.csv: line {line}: label: {label!r}" for line in (2, 3))


def test_ordinary_labels_pass() -> None:
    labels = ["flight", "a/b", "-1", "+1", "-0.5", "-", "1", "5★", "می\u200cخوریم", "👩\u200d🚀", "مرحبا", "C++", "x=1"]
    assert check_labels(labels) == {}


def test_text_comes_before_the_label_of_its_row() -> None:
    checks = RowChecks(CheckSettings.parse())
    checks.add(Path("a.csv"), [1], ["=1+1"], ["=x"])
    (finding,) = (finding for finding in checks.findings() if finding.count and finding.check == "formula")
    assert (finding.count, finding.examples) == (1, ("a.csv: line 1: '=1+1' as '=x'",))


def test_counts_and_examples_run_over_batches() -> None:
    checks = RowChecks(CheckSettings.parse())
    for start in range(0, 40, 4):
        checks.add(Path("a.csv"), range(start, start + 4), ["<b>bold</b>"] * 3 + ["plain"], ["x"] * 4)
    (finding,) = (finding for finding in checks.findings() if finding.check == "markup")
    assert (finding.count, finding.share) == (30, 0.75)
    assert len(finding.examples) == EXAMPLES
    assert "line 4:" in finding.examples[3]


def test_examples_are_cut() -> None:
    assert len(check(["<b>" + "x" * 5000])["markup"].examples[0]) < 160


def test_what_is_off_is_not_looked_for() -> None:
    assert set(check(["=1"], formula="off", link="off")) == set(ROW_CHECKS) - {"formula", "link"}
    assert check([""], **dict.fromkeys(ROW_CHECKS, "off")) == {}


def test_thresholds_are_limits() -> None:
    checks = RowChecks(CheckSettings.parse({}, {"min_characters": 5, "max_characters": 6}))
    checks.add(Path("a.csv"), [1, 2, 3, 4], ["four", "five5", "sixsix", "seven77"], ["x"] * 4)
    counts = {finding.check: finding.count for finding in checks.findings()}
    assert (counts["short_text"], counts["long_text"]) == (1, 1)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=20))
def test_any_text_is_checked_and_shown_in_one_printable_line(texts: list[str]) -> None:
    for finding in check(texts).values():
        assert 0 <= finding.count <= len(texts)
        assert len(finding.examples) == min(finding.count, EXAMPLES)
        assert all(example.isprintable() for example in finding.examples)
