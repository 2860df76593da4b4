"""Tracking with the real wandb: what reaches it, and that nothing that is wrong with it reaches the step."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from wandb_logs import offline_directories, read_log
from wandb_stand_in import KEY, StandIn, wandb_stand_in

from kfp_textclf.components.common import tracking
from kfp_textclf.components.common.tracking import track
from kfp_textclf.components.common.tracking_environment import dataset_pin, safe_name, without_secrets

pytest.importorskip("wandb")

STEP = """
import json, os, pathlib, signal, sys
from kfp_textclf.components.common import tracking
tracking.INIT_SECONDS, tracking.FINISH_SECONDS = 1, 3
config = {"epochs": 3, "dataset_pin": {"git_rev": "c0ffee", "files": [{"path": "a.csv", "md5": "0123"}]}}
with tracking.track("train", config) as run:
    for step in range(3):
        run.log({"loss": 1 / (step + 1)}, step=step)
    exec(sys.argv[1])
    run.log({"loss": 0.25}, step=3)
    run.summary({"onnx_int8": {"accuracy": 0.9}, "verdict": "promote"})
    run.reference_artifact("a model/int8", "s3://bucket/store/v1", ["candidate"], {"accuracy": 0.9})
print("trained " + json.dumps(run.metadata()))
"""
KILL_SERVICE = """
for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    command = process.read_bytes().split(b"\\0")
    if command[0].endswith(b"wandb-core") and str(os.getpid()).encode() in command:
        os.kill(int(process.parent.name), signal.SIGKILL)
        break
else:
    raise SystemExit("no service of wandb was found")
"""
HIDDEN = {"loss": 0.25, "onnx_int8/accuracy": 0.9, "verdict": "promote"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in, without any setting of W&B."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "KFP_TEXTCLF_RUN"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    import wandb

    wandb.teardown()  # it keeps what it read of the environment


@pytest.fixture
def server() -> Iterator[StandIn]:
    with wandb_stand_in() as running:
        yield running


@pytest.fixture
def step(place: Path) -> Callable[..., SimpleNamespace]:
    """Run a step in a process of its own, as KFP does, with settings in its environment."""

    def call(action: str = "", **environment: str) -> SimpleNamespace:
        command = [sys.executable, "-c", STEP, action]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("trained ")]
        return SimpleNamespace(**{"note": "", "url": "", **json.loads(line.removeprefix("trained "))}, log=done.stderr)

    return call


def refused_port() -> str:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{one.getsockname()[1]}"


def test_offline_run_holds_everything(step, place: Path) -> None:
    told = step(WANDB_MODE="offline", KFP_TEXTCLF_RUN="run-1")
    assert (told.mode, told.note, told.url) == ("offline", "", "")
    (directory,) = offline_directories(place)
    assert told.directory == str(directory)
    log = read_log(directory)
    assert (log.name, log.group, log.job, log.exit_code) == ("train-run-1", "run-1", "train", 0)
    assert log.config["epochs"] == 3
    assert log.config["dataset_pin"] == {"git_rev": "c0ffee", "files": [{"path": "a.csv", "md5": "0123"}]}
    assert [(row["_step"], row["loss"]) for row in log.history] == [(0, 1), (1, 0.5), (2, 1 / 3), (3, 0.25)]
    assert HIDDEN.items() <= log.summary.items()
    (artifact,) = log.artifacts
    assert artifact["name"] == "a-model-int8"
    assert artifact["references"] == ["s3://bucket/store/v1"]
    assert "candidate" in artifact["aliases"]
    assert artifact["metadata"] == {"accuracy": 0.9}


def test_online_run_is_grouped_and_linked(step, server: StandIn, place: Path) -> None:
    told = step(WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url, KFP_TEXTCLF_RUN="run-1", WANDB_PROJECT="mine")
    assert (told.mode, told.note) == ("online", "")
    bucket = server.variables("UpsertBucket")[0]
    assert told.url == f"{server.url}/team/mine/runs/{bucket['name']}"
    assert (bucket["project"], bucket["groupName"], bucket["jobType"]) == ("mine", "run-1", "train")
    assert [row["loss"] for row in server.history()] == [1, 0.5, 1 / 3, 0.25]
    assert "s3://bucket/store/v1" in server.uploads["manifest"].decode()
    assert KEY not in json.dumps(server.requests) + told.log
    assert not offline_directories(place)


def test_retried_step_goes_on_in_its_run_and_other_work_has_another(
    place: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url, "KFP_TEXTCLF_RUN": "run-1"}.items():
        monkeypatch.setenv(name, value)
    urls = []
    for seed in (1, 1, 2):
        with track("train", {"seed": seed}) as run:
            run.log({"loss": 1.0}, step=1)
        urls.append(run.url)
    assert urls[0] == urls[1] != urls[2]


@pytest.mark.parametrize(
    ("situation", "note"),
    [
        ({}, "No API key configured"),
        ({"WANDB_API_KEY": "short"}, "API key must have"),
        ({"WANDB_API_KEY": "not a key!" * 5}, "API key may only contain"),
        ({"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "unknown"}, "CommError"),
        ({"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "401"}, "not logged in"),
        ({"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "silent"}, "CommError"),
        ({"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "refusing", "HOME": "/proc"}, "CommError"),
    ],
    ids=["no key", "short key", "odd key", "no name", "rejected", "silent", "no route and read-only home"],
)
def test_what_cannot_be_sent_is_kept_offline(step, server: StandIn, place: Path, situation: dict, note: str) -> None:
    import re

    kind = situation.get("WANDB_BASE_URL", "")
    server.silent = kind == "silent"
    server.status = int(kind) if kind.isdigit() else 200
    urls = {"refusing": refused_port(), "unknown": "http://wandb.invalid", "": "http://wandb.invalid"}
    run = {"WANDB_MODE": "online", "KFP_TEXTCLF_RUN": "run-1"}
    told = step(**{**run, **situation, "WANDB_BASE_URL": urls.get(kind, server.url)})
    assert told.mode == "offline"
    assert told.note.startswith("offline instead of online, ")
    assert re.search(note, told.note)
    assert f"tracking: {told.note}" in told.log
    assert HIDDEN.items() <= read_log(Path(told.directory)).summary.items()
    assert situation.get("WANDB_API_KEY", KEY) not in told.note + told.log


@pytest.mark.parametrize(
    "situation",
    [
        {"HOME": "/proc"},
        {"WANDB_DATA_DIR": "/proc/data", "WANDB_CACHE_DIR": "/proc/cache", "WANDB_CONFIG_DIR": "/proc/config"},
        {"WANDB_DIR": "/proc/runs"},
        {
            "WANDB_PROJECT": "a/b c:%?#",
            "KFP_TEXTCLF_RUN": "2026 / run: ä?",
            "WANDB_NAME": " /:\n",
            "WANDB_RUN_ID": "a/b",
        },
        {"KFP_TEXTCLF_RUN": "x" * 300, "WANDB_PROJECT": "p" * 300},
        {"KFP_TEXTCLF_RUN": "///", "WANDB_PROJECT": "..", "WANDB_RESUME": "must"},
    ],
    ids=["read-only home", "read-only directories", "read-only runs", "odd names", "long names", "no names"],
)
def test_places_and_names_that_wandb_refuses_are_replaced(step, place: Path, situation: dict) -> None:
    told = step(WANDB_MODE="offline", **situation)
    assert told.mode == "offline"
    assert ("/proc/runs cannot be written" in told.note) if "WANDB_DIR" in situation else not told.note
    log = read_log(Path(told.directory))
    assert HIDDEN.items() <= log.summary.items()
    assert len(log.artifacts) == 1


@pytest.mark.parametrize(
    ("module", "note"),
    [
        ("raise ModuleNotFoundError(\"No module named 'wandb'\")", "wandb cannot be imported .*No module named"),
        ("raise RuntimeError('incompatible protobuf')", "wandb cannot be imported .*incompatible protobuf"),
        ("", "not tracked, AttributeError"),
    ],
    ids=["missing", "broken", "another"],
)
def test_wandb_that_cannot_be_used_is_done_without(step, place: Path, module: str, note: str) -> None:
    import re

    (place / "broken").mkdir()
    (place / "broken" / "wandb.py").write_text(module, encoding="utf-8")
    told = step(WANDB_MODE="offline", PYTHONPATH=str(place / "broken"))
    assert told.mode == "none"
    assert re.search(note, told.note)


@pytest.mark.parametrize(
    ("environment", "note"),
    [
        ({}, "neither WANDB_MODE nor WANDB_API_KEY is set"),
        ({"WANDB_API_KEY": ""}, "neither WANDB_MODE nor"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": KEY}, "WANDB_MODE is 'disabled'"),
        ({"WANDB_MODE": "of line"}, "WANDB_MODE is 'of line'"),
    ],
)
def test_nothing_is_written_when_nothing_is_asked_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, environment: dict, note: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with track("train", {}) as run:
        run.log({"loss": 1.0}, step=1)
    assert run.metadata()["mode"] == "none"
    assert note in run.metadata()["note"]
    assert not list(place.iterdir())


def test_service_of_wandb_that_dies_ends_the_tracking_alone(step) -> None:
    told = step(KILL_SERVICE, WANDB_MODE="offline")
    assert "not all was tracked" in told.note


def test_server_that_falls_silent_is_not_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, server: StandIn
) -> None:
    for name, value in {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": server.url}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tracking, "FINISH_SECONDS", 1)
    with track("train", {}) as run:
        server.silent = True
        run.log({"loss": 1.0}, step=1)
    assert run.mode == "online"
    assert "not all was sent within 1 s" in run.note


@pytest.mark.parametrize("failing", ["log", "summary", "reference_artifact"])
def test_first_fault_of_a_call_is_noted_once(place: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with track("train", {}) as run:
        for _ in range(3):
            if failing == "log":
                run.log({"loss": 1.0}, step="first")  # type: ignore[arg-type]
            elif failing == "summary":
                run.summary({1: {}, None: object()})  # type: ignore[dict-item]
            else:
                run.reference_artifact("m", "no uri at all")
    assert run.note.count("not all was tracked") == 1


def test_error_of_the_step_is_its_own_and_marks_the_run_failed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(SystemExit), track("train", {}):
        raise SystemExit(143)
    (directory,) = offline_directories(place)
    assert read_log(directory).exit_code == 1


def test_pin_of_the_data_is_read_from_the_profile(tmp_path: Path) -> None:
    files = {"b.csv": {"size": 1, "sha256": "s"}, "a.csv": {"size": 1, "md5": "m"}}
    (tmp_path / "profile.json").write_text(json.dumps({"dataset": {"git_rev": "c0ffee", "files": files}}))
    pinned = [{"path": "a.csv", "md5": "m"}, {"path": "b.csv", "md5": ""}]
    assert dataset_pin(tmp_path) == {"git_rev": "c0ffee", "files": pinned}
    assert dataset_pin(tmp_path / "without") == {}


def test_environment_is_left_as_it_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_NAME", "kept")
    before = dict(os.environ)
    with track("train", {}):
        os.environ["SET_BY_THE_STEP"] = "kept"
    after = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    assert after == {**before, "SET_BY_THE_STEP": "kept"}


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"key {KEY} refused", "key *** refused"),
        ("at https://user:pass@host/x", "at https://host/x"),
        ("s3://b/k?X-Amz-Signature=1 and more", "s3://b/k and more"),
        ("what? a question: 1@2", "what? a question: 1@2"),
    ],
)
def test_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch, text: str, clean: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert without_secrets(text) == clean


@pytest.mark.parametrize("name", ["a b/c:d", "..", "ä", "x" * 500, "-a-", "ok_1.2-3"])
def test_safe_name_is_safe(name: str) -> None:
    import re

    assert re.fullmatch(r"([A-Za-z0-9_][A-Za-z0-9._-]{0,127})?", safe_name(name))
