"""The report on a run for a pull request: what it says, however the run ended, and that texts do nothing in it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_page import HOSTILE, Rendered
from recorded_runs import metrics, write_run
from support import heed_interruption

from kfp_textclf.pipelines.advice import advice
from kfp_textclf.pipelines.run_record import read_record
from kfp_textclf.pipelines.run_report import LONGEST, run_report

LOGS = {"1-ingest-dataset.log": "fetched\n", "2-train-classifier.log": "epoch 1\nRuntimeError: broken\n"}


def report(*directories: Path) -> str:
    return run_report([read_record(directory) for directory in directories])


@pytest.mark.parametrize(
    ("wrong", "champion_wrong", "verdict", "alert", "words"),
    [
        (1, 20, "promote", "TIP", "Promote, significantly better against the champion"),
        (20, 1, "reject", "WARNING", "Reject, significantly worse against the champion"),
        (3, 4, "promote", "TIP", "Promote, no significant difference against the champion"),
        (3, None, "promote", "TIP", "Promote**"),
    ],
)
def test_verdict_comes_first(
    tmp_path: Path, wrong: int, champion_wrong: int | None, verdict: str, alert: str, words: str
) -> None:
    text = report(write_run(tmp_path / "run", {**metrics(wrong, champion_wrong), "verdict": verdict}))
    lines = text.splitlines()
    assert lines[0] == "## Run run"
    assert lines.index(f"> [!{alert}]") < 6
    assert words in lines[lines.index(f"> [!{alert}]") + 1]
    assert ("### Against the champion" in text) == (champion_wrong is not None)


def test_everything_that_a_reviewer_asks_for_is_there(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", metrics(20, 2), LOGS))
    for part in (
        "### Against the champion 0123456789abcdef",
        "### Classes beside the champion",
        "### Confusions more frequent than with the champion",
        "### What changed since the champion's data",
        "### Variants",
        "```mermaid\nflowchart LR",
        "xychart-beta",
        "| train-classifier | succeeded | 12.3 s | 2.00 Wh | 0.1000 |",
        "<summary>Parameters</summary>",
        "<summary>Log</summary>",
    ):
        assert part in text, part
    worse = next(line for line in text.splitlines() if line.startswith("| show me flights to bo fare | show"))
    assert "| 1 | 7 |" in worse, "before and now"
    assert "show me flights to bo 3" in worse, "a text that the champion labelled correctly"
    assert "show me flights to bo 0 " not in worse, "not one that it confused likewise"


def test_data_that_did_not_move_is_one_line(tmp_path: Path) -> None:
    content = metrics()
    content["data_changes"]["dataset"]["before"] = content["data_changes"]["dataset"]["now"]
    text = report(write_run(tmp_path / "run", content))
    assert "- Data: **the same files as the champion's**" in text
    assert "What changed" not in text


def test_other_runs_are_compared_with(tmp_path: Path) -> None:
    new = write_run(tmp_path / "new", metrics(20, None), wrong=20)
    main = write_run(tmp_path / "main", metrics(2, None), wrong=2)
    failed = write_run(tmp_path / "failed", {"state": "FAILED"})
    text = report(new, main, failed)
    assert "### Against the run main" in text
    row = next(line for line in text.splitlines() if line.startswith("| MCC |"))
    assert "significantly worse" in row
    assert "### Confusions more frequent than with the run main" in text
    assert "| failed | failed |" in text


FAILED: dict[str, Any] = {
    "run_id": "r1",
    "state": "FAILED",
    "failed_step": "train-classifier",
    "error": "RuntimeError: broken",
    "arguments": {"epochs": 3},
    "steps": [
        {"name": "ingest-dataset", "state": "SUCCEEDED", "seconds": 1.0},
        {"name": "train-classifier", "state": "FAILED", "seconds": 2.0},
    ],
}
CLUSTER = {
    **FAILED,
    "link": "https://kfp.example/#/runs/details/r1",
    "steps": [{"name": "train-classifier", "state": "FAILED"}],
}


@pytest.mark.parametrize("content", [FAILED, CLUSTER], ids=["local", "cluster"])
def test_failed_run_tells_step_last_lines_and_what_to_do(tmp_path: Path, content: dict[str, Any]) -> None:
    text = report(write_run(tmp_path / "run", content, LOGS if content is FAILED else None))
    assert "> [!CAUTION]\n> **Failed at train-classifier**: RuntimeError: broken" in text
    assert "### Last lines of train-classifier\n\n```text\n" in text
    assert "What to do" in text
    assert ("[KFP run](https://kfp.example/#/runs/details/r1)" in text) == (content is CLUSTER)
    assert ("Submit again" in text) == (content is CLUSTER)


def test_cancelled_run_tells_how_far_it_came(tmp_path: Path) -> None:
    text = report(write_run(tmp_path / "run", {**FAILED, "state": "CANCELED", "failed_step": "", "error": ""}))
    assert "**Cancelled**: Finished steps: ingest-dataset. Nothing was published." in text


@pytest.mark.parametrize("content", [{}, [], {"state": "RUNNING"}, {"variants": 3}, {"steps": "x", "champion": 1}])
def test_incomplete_directory_gets_a_report(tmp_path: Path, content: object) -> None:
    directory = write_run(tmp_path / "run", content, LOGS)
    text = report(directory)
    assert "> [!CAUTION]\n> **Not finished**" in text
    assert "RuntimeError: broken" in text
    for part in ("metrics.json", "predictions.csv"):
        (directory / part).write_text("{ cut of")
        assert "Not finished" in report(directory)
        (directory / part).unlink()
        assert "RuntimeError: broken" in report(directory)


def test_what_the_record_lacks_is_named(tmp_path: Path) -> None:
    content = metrics()
    del content["variants"]["torch"]["accuracy"], content["champion"]["comparison"]["metrics"]["accuracy"]["low"]
    text = report(write_run(tmp_path / "run", content))
    assert "The record of the run lacks what these need: champion, variants." in text
    assert "### Confusions" not in text or "### Classes" in text


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["x", "kfp_textclf.components.common.errors.UserError: floor=3: must lie between -1 and 2"], "Mend what"),
        (["OOMKilled"], "needs more memory"),
        (["0/3 nodes are available: 3 Insufficient nvidia.com/gpu."], "No node fits"),
        (["whatever"], "Submit again"),
    ],
)
def test_advice_follows_the_last_lines(lines: list[str], what: str) -> None:
    assert what in advice(lines, on_cluster=True)


def hostile_run(directory: Path, text: str) -> Path:
    return write_run(directory, metrics(20, 2, text), {"1-step.log": text, f"2-{'x' * 20}.log": text * 3})


@pytest.mark.parametrize("text", [text for text in HOSTILE if text])
def test_hostile_texts_do_nothing(tmp_path: Path, text: str) -> None:
    inert(tmp_path, text)


@settings(max_examples=25, deadline=None)
@given(text=st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), min_size=1, max_size=5).map("".join))
def test_no_text_of_a_run_is_markup(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    inert(tmp_path_factory.mktemp("run"), f"{text}x")


def inert(directory: Path, text: str) -> None:
    rendered = report(hostile_run(directory / "run", text.encode(errors="replace").decode()))
    page, plain = Rendered(rendered), Rendered(report(hostile_run(directory / "plain", "x")))
    assert page.tags == plain.tags
    assert "@e" not in page.prose
    assert "evil.example" not in "".join(page.links)
    assert len(rendered) < LONGEST


def test_long_report_drops_the_least_important(tmp_path: Path) -> None:
    content = metrics(20, 2)
    content["arguments"] |= {f"parameter_{i}": "y" * 290 for i in range(300)}
    logs = {"1-ingest-dataset.log": "\n".join(f"{i} {'z' * 290}" for i in range(300))}
    text = report(write_run(tmp_path / "run", content, logs))
    assert len(text.encode()) <= LONGEST
    assert "Left out, for the length of this report: parameters, log." in text
    assert "### Against the champion" in text


def call(*arguments: str, cwd: Path) -> SimpleNamespace:
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def test_command_finds_runs_as_compare_does(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", metrics())
    (tmp_path / "runs" / "latest").symlink_to("a")
    for name in ("a", "latest", "kfp:a", "runs/a", str(tmp_path / "runs" / "a")):
        done = call("report", name, cwd=tmp_path)
        assert (done.code, done.out.splitlines()[0]) == (0, "## Run a"), done.err
    done = call("report", "a", "--output", "out.md", cwd=tmp_path)
    assert (done.code, done.out) == (0, "")
    assert (tmp_path / "out.md").read_text().startswith("## Run a\n")


def test_command_refuses_what_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", metrics())
    for arguments, message in (
        (("report", "nothing"), "'nothing': there is no such run"),
        (("report", "a", "--output", "no/such/file"), "no/such/file: cannot be written"),
    ):
        done = call(*arguments, cwd=tmp_path)
        assert done.code == 2
        assert done.err.startswith("error: ")
        assert message in done.err
        assert len(done.err.splitlines()) == 1


def test_run_that_was_refused_leaves_enough_for_a_report(project: SimpleNamespace) -> None:
    (project.data / "train.csv").write_text("only one column\n")
    assert project.run("run").code == 2
    (directory,) = (path for path in project.runs.iterdir() if path.name[0] == "2")
    text = report(directory)
    assert "**Failed at prepare-dataset**" in text
    assert "Mend what the last line names." in text
    compared = project.run("compare", directory.name, directory.name)
    assert compared.code == 2
    assert "this run has not ended well, it is FAILED" in compared.err


def test_run_that_was_interrupted_leaves_enough_for_a_report(project: SimpleNamespace) -> None:
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "run", "--set", "train.epochs=500"]
    with subprocess.Popen(
        command, cwd=project.root, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interruption
    ) as running:
        assert running.stderr
        for line in running.stderr:
            if "train-classifier" in line:
                break
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        running.communicate()
    assert running.returncode == 130
    (directory,) = (path for path in project.runs.iterdir() if path.name[0] == "2")
    assert json.loads((directory / "metrics.json").read_text())["state"] == "CANCELED"
    assert "**Cancelled**: Finished steps: preflight-run, ingest-dataset, prepare-dataset" in report(directory)
