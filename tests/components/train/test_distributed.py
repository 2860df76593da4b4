"""One training in two processes that talk by gloo: the steps of one process, one writer, and an end that all share."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.train.settings import TrainSettings
from kfp_textclf.components.train.stage import train


def test_two_processes_take_the_steps_of_one(
    trained: SimpleNamespace, prepared: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = replace(trained.settings, processes=2)
    checkpoints = (tmp_path / "checkpoints").as_uri()
    together = train(
        str(prepared), str(tmp_path / "model"), base_model=tiny_model.as_uri(), settings=settings,
        checkpoint_uri=checkpoints, checkpoint_steps=10,
    )  # fmt: skip
    assert together.settings == {**trained.result.settings, "processes": 2}
    log, alone_log = (
        read_json(verified(path) / "training.json")["log"] for path in (tmp_path / "model", trained.directory)
    )
    steps = [[entry["step"] for entry in entries if "eval_loss" in entry] for entries in (log, alone_log)]
    assert steps[0] == steps[1], "the effective batch is another"
    losses = [[entry["eval_loss"] for entry in entries if "eval_loss" in entry] for entries in (log, alone_log)]
    assert losses[0] == pytest.approx(losses[1], abs=0.1)
    for name in ("accuracy", "macro_f1", "matthews_correlation"):
        assert together.validation[name] == pytest.approx(trained.result.validation[name], abs=0.05), name
    assert together.tokens == trained.result.tokens
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not list(tmp_path.glob("*.partial-*"))
    lines = [line for line in capfd.readouterr().out.splitlines() if "eval_matthews_correlation" in line]
    assert len(lines) == len(set(lines)), "both processes tell of their progress"


def test_error_of_the_user_comes_back_as_one(prepared: Path, tiny_model: Path, tmp_path: Path) -> None:
    settings = TrainSettings(epochs=1, learning_rate=1e30, freeze_embeddings=False, precision="fp32", processes=2)
    with pytest.raises(UserError, match=r"training diverged: .*; lower learning_rate"):
        train(str(prepared), str(tmp_path / "model"), base_model=tiny_model.as_uri(), settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError, match=r"batch_size=16: cannot be divided among 3 processes"):
        TrainSettings(processes=3)


def test_sigterm_ends_both_and_the_next_training_resumes(prepared: Path, tiny_model: Path, tmp_path: Path) -> None:
    job = {
        "dataset": str(prepared),
        "output": str(tmp_path / "model"),
        "base_model": tiny_model.as_uri(),
        "checkpoint_uri": (tmp_path / "checkpoints").as_uri(),
        "checkpoint_steps": 4,
        "settings": {"epochs": 20, "early_stopping_patience": 0, "precision": "fp32", "processes": 2},
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "kfp_textclf.components.train.process", str(tmp_path / "job.json")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "checkpoints").rglob("manifest.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    output = process.communicate(timeout=90)[0]
    assert process.returncode == 143, output
    assert output.count("stopped by SIGTERM at step") == 2
    assert not (tmp_path / "model").exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    assert "resumed from step" in again.stdout
    assert read_json(verified(tmp_path / "model") / "training.json")["resumed_from_steps"]
