"""Tracking through the whole pipeline, and sending what was tracked offline."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import read
from wandb_logs import offline_directories, read_log
from wandb_stand_in import KEY, wandb_stand_in

from kfp_textclf.components.common.tracking import track

pytest.importorskip("wandb")

QUICK = ("--set", "train.epochs=2", "--set", "evaluate.floor=-1", "--set", "evaluate.max_int8_drop=2")


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any setting of W&B."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "KFP_TEXTCLF_RUN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def kept(untouched: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of runs with two steps that were tracked offline."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("two", "one"):
        monkeypatch.setenv("WANDB_DIR", str(tmp_path / "runs" / name))
        with track("train", {"name": name}) as run:
            run.log({"loss": 1.0}, step=1)
            run.reference_artifact("m", "s3://bucket/v1", ["candidate"])
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    import wandb

    wandb.teardown()
    return tmp_path / "runs"


def test_offline_runs_are_sent_once(kept: Path, project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb_stand_in() as server:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_MODE", "offline")  # what made them offline may still be set
        done = project.run("track", "sync")
        assert done.code == 0, done.err
        lines = done.out.splitlines()
        oldest_first = sorted(offline_directories(kept), key=lambda path: path.name)  # its name begins with its time
        assert [line.partition(": ")[0] for line in lines] == list(map(str, oldest_first))
        assert all(f": {server.url}/team/kfp-textclf/runs/" in line for line in lines)
        assert len(server.history()) == 2
        assert "s3://bucket/v1" in server.uploads["manifest"].decode()
        assert KEY not in done.out + done.err
        again = project.run("track", "sync", "runs")
    assert (again.code, again.out) == (0, "nothing to send below runs\n")


@pytest.mark.parametrize(
    ("environment", "arguments", "code", "message"),
    [
        ({}, [], 2, "No API key configured; set WANDB_API_KEY or run wandb login; 2 offline runs are left"),
        ({"WANDB_API_KEY": "short"}, [], 2, "API key must have 40+ characters, has 5.; set WANDB_API_KEY"),
        ({"WANDB_API_KEY": KEY}, ["--timeout", "4"], 1, "was not sent within 4 s"),
        ({}, ["nowhere"], 2, "nowhere: is no directory"),
    ],
    ids=["no key", "short key", "no route", "no directory"],
)
def test_what_cannot_be_sent_is_left_and_said(
    kept: Path, project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, environment, arguments, code, message
) -> None:
    for name, value in {"WANDB_BASE_URL": "http://127.0.0.1:9", **environment}.items():
        monkeypatch.setenv(name, value)
    done = project.run("track", "sync", *arguments)
    assert done.code == code
    (line,) = done.err.splitlines()
    assert message in line
    if arguments != ["nowhere"]:
        assert "2 offline runs are left" in line
    assert not list(kept.rglob("*.synced"))


def test_pipeline_is_tracked_by_run_and_step_and_its_cache_does_not_know(
    untouched: None, project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    first = project.run("run", *QUICK)
    assert first.code == 0, first.err
    (directory,) = project.runs.glob("2*-tiny")
    steps = {log.job: log for log in map(read_log, offline_directories(directory / "wandb"))}
    assert set(steps) == {"train", "evaluate", "publish"}
    assert {log.group for log in steps.values()} == {directory.name}
    assert {log.exit_code for log in steps.values()} == {0}
    assert steps["train"].config["learning_rate"] == 0.002
    assert [row["_step"] for row in steps["train"].history if "validation/macro_f1" in row]
    assert steps["train"].artifacts[0]["references"]
    metrics = read(directory / "metrics.json")
    accuracy = metrics["variants"]["onnx_int8"]["accuracy"]
    assert steps["evaluate"].summary["onnx_int8/accuracy"] == pytest.approx(accuracy)
    assert steps["evaluate"].summary["verdict"] == "promote"
    published = steps["publish"].artifacts
    assert [set(artifact["aliases"]) - {"latest"} for artifact in published] == [
        {"candidate"},
        {"candidate", "champion"},
    ]
    assert all(ref.startswith(metrics["published"]["uri"]) for ref in published[-1]["references"])
    assert {tracking["mode"] for tracking in metrics["tracking"].values()} == {"offline"}
    for report in ("report.html", "report.md"):
        assert "kfp-textclf track sync runs" in (directory / report).read_text()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    second = project.run("run", *QUICK)
    assert second.code == 0, second.err
    again = read((project.runs / "latest") / "metrics.json")
    assert [step["cached"] for step in again["steps"]] == [False] + [True] * 6 + [False, False]
    assert KEY not in first.out + first.err + second.out + second.err
    holding = [path for path in project.root.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert holding == []


def test_training_ends_well_without_a_way_to_wandb(
    untouched: None, project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole pipeline, with a key and a server that is not there: each step says so, and all end well."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setenv("WANDB_PROJECT", "odd / project: name")
    done = project.run("run", *QUICK)
    assert done.code == 0, done.err
    (directory,) = project.runs.glob("2*-tiny")
    metrics = read(directory / "metrics.json")
    for tracking in metrics["tracking"].values():
        assert tracking["mode"] == "offline"
        assert "CommError" in tracking["note"]
    logs = "".join(path.read_text() for path in (directory / "logs").iterdir())
    assert logs.count("tracking: offline instead of online, CommError") >= 2
    assert "offline instead of online" in (directory / "report.html").read_text()
    assert (directory / "models" / "model" / "model.safetensors").is_file()
