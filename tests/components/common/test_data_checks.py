"""Levels and limits of the checks, and what a failure says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_textclf.components.common.data_checks import (
    CHECKS,
    EXAMPLE_CHARACTERS,
    CheckSettings,
    Finding,
    checks_table,
    example,
    require_passed,
)
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import render_html


def test_what_is_not_named_keeps_its_default() -> None:
    settings = CheckSettings.parse({"markup": "error"}, {"markup": 0.25, "min_characters": "3"})
    assert settings.changed() == ({"markup": "error"}, {"markup": 0.25, "min_characters": 3.0})
    assert CheckSettings.parse().changed() == CheckSettings.parse({"link": "warn"}).changed() == ({}, {})


def test_false_is_off_because_yaml_says_so() -> None:
    assert not CheckSettings.parse({"link": False}).wants("link")


@pytest.mark.parametrize(
    ("checks", "limits", "message"),
    [
        ({"lnk": "warn"}, {}, r"prepare\.checks\.lnk: unknown check; did you mean link\?"),
        ({}, {"duplicate": 1}, r"prepare\.limits\.duplicate: unknown check; did you mean duplicates\?"),
        ({"qqq": "warn"}, {}, r"prepare\.checks\.qqq: unknown check; known are empty, short_text"),
        ({"min_characters": "warn"}, {}, r"prepare\.checks\.min_characters: unknown check"),
        ({"link": "fatal"}, {}, r"prepare\.checks\.link='fatal': is not one of error, warn, off"),
        ({"link": True}, {}, r"prepare\.checks\.link=True: is not one of"),
        ({}, {"link": "much"}, r"prepare\.limits\.link='much': is not a number of 0 or more"),
        ({}, {"link": -0.1}, r"prepare\.limits\.link=-0\.1: is not a number"),
        ({}, {"link": float("nan")}, r"prepare\.limits\.link=nan: is not a number"),
        ({}, {"link": True}, r"prepare\.limits\.link=True: is not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(checks: dict, limits: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        CheckSettings.parse(checks, limits)


def test_error_names_check_count_first_example_and_the_way_out() -> None:
    finding = Finding.of_share("markup", 3, 10, [example("<b>", "a.csv: line 4", "x"), "other"])
    settings = CheckSettings.parse({"markup": "error"})
    with pytest.raises(UserError) as raised:
        require_passed([finding], settings)
    assert str(raised.value) == (
        "check markup: 3 texts with HTML or script (0.3, limit 0); first: a.csv: line 4: '<b>' as 'x'; "
        "extract the text, or set prepare.checks.markup=warn"
    )


def test_warning_or_tolerated_finding_stops_nothing() -> None:
    finding = Finding.of_share("markup", 3, 10)
    require_passed([finding], CheckSettings.parse())
    require_passed([finding], CheckSettings.parse({"markup": "error"}, {"markup": 0.3}))
    with pytest.raises(UserError):
        require_passed([finding], CheckSettings.parse({"markup": "error"}, {"markup": 0.29}))


def test_table_tells_passed_warned_off_and_not_made_apart_and_escapes() -> None:
    settings = CheckSettings.parse({"link": "off"})
    findings = [Finding.of_share("markup", 1, 2, [example("<script>")]), Finding.of_share("empty", 0, 2)]
    table = checks_table(findings, settings, ["empty", "markup", "link", "label_drift"])
    assert [row[6] for row in table.rows] == ["passed", "warn", "off", "not made"]  # pyright: ignore
    html = render_html("", "", [table])
    assert "&lt;script&gt;" in html
    assert "<script>" not in html


@given(st.text(), st.text(), st.text())
def test_example_is_one_short_printable_line(text: str, place: str, label: str) -> None:
    assert len(example(text)) <= EXAMPLE_CHARACTERS * 10 + 2, "an escape is 10 characters at most"
    assert example(text).isprintable()
    assert example(text, "a.csv: line 1", label).startswith("a.csv: line 1: ")


def test_every_check_says_what_it_finds_and_how_to_mend_it() -> None:
    assert all(check.found and check.fix and check.level in ("error", "warn") for check in CHECKS.values())
