"""Posting a report: what fits, and that nothing that goes wrong fails the caller. tests/workflows posts for real."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from kfp_textclf.pipelines.posting import LONGEST_COMMENT, fitted


@pytest.fixture
def post(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Call ``kfp-textclf post`` with only the given commands on PATH."""

    def call(text: str = "# Report\n", commands: dict[str, str] | None = None, **environment: str) -> SimpleNamespace:
        (tmp_path / "report.md").write_text(text, encoding="utf-8")
        (tmp_path / "bin").mkdir(exist_ok=True)
        for name, script in (commands or {}).items():
            (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "event.json").write_text(json.dumps({"pull_request": {"number": 7}}))
        known = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_REPOSITORY": "acme/texts"}
        known |= {"GITHUB_EVENT_PATH": str(tmp_path / "event.json"), "PATH": str(tmp_path / "bin")}
        done = subprocess.run(
            [sys.executable, "-m", "kfp_textclf.pipelines.cli", "post", str(tmp_path / "report.md")],
            env={**{n: v for n, v in os.environ.items() if not n.startswith("GITHUB_")}, **known, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        summary = tmp_path / "summary"
        return SimpleNamespace(
            code=done.returncode,
            out=done.stdout,
            err=done.stderr,
            summary=summary.read_text() if summary.exists() else "",
        )

    return call


@pytest.mark.parametrize(
    ("commands", "environment", "said"),
    [
        ({}, {}, "note: no comment: gh is not installed"),
        ({"gh": "echo no such token >&2; exit 4"}, {}, "note: no comment: gh failed: no such token"),
        ({"gh": "echo '<html>'"}, {}, "note: no comment: gh answered with no JSON"),
        ({"cml": "echo boom >&2; exit 1"}, {}, "note: cml failed: boom; gh is tried"),
        ({"gh": "echo '[]'"}, {"GITHUB_EVENT_PATH": "/nowhere"}, "note: no comment: no pull request belongs to"),
        ({}, {"GITHUB_REPOSITORY": ""}, "note: no comment: GITHUB_REPOSITORY is not set"),
    ],
)
def test_that_posting_fails_is_one_line_and_fails_nothing(post, commands: dict, environment: dict, said: str) -> None:
    done = post(commands=commands, **environment)
    assert done.code == 0, done.err
    assert [line for line in done.out.splitlines() if line.startswith(said)], done.out
    assert "Traceback" not in done.err
    assert done.summary == "# Report\n\n"


def test_a_summary_that_cannot_be_written_is_told(post) -> None:
    done = post(GITHUB_STEP_SUMMARY="/nowhere/summary")
    assert done.code == 0
    assert done.out.startswith("note: not in the summary of the run")


def test_a_report_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "post", str(tmp_path / "none.md")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


def test_a_text_that_is_too_long_is_cut_at_a_line_and_closed() -> None:
    text = "# Report\n<details><summary>log</summary>\n\n```\n" + "a line of the log ü\n" * 10_000
    cut = fitted(text)
    assert len(cut) <= LONGEST_COMMENT
    assert cut.startswith("# Report\n")
    assert cut.count("```") == 2
    assert cut.count("</details>") == 1
    assert "the summary of the run has all of it" in cut
    assert fitted("short") == "short"
    assert len(fitted("x" * 100_000)) <= LONGEST_COMMENT
