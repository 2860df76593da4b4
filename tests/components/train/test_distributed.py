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

import pyarrow.parquet as pq
import pytest
from stage_inputs import rewritten
from wandb_logs import offline_directories, read_log

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


@pytest.mark.parametrize("scheme", ["none", "balanced"])
def test_losses_are_those_of_one_process(prepared: Path, tiny_model: Path, tmp_path: Path, scheme: str) -> None:
    """Without dropout they differ by rounding alone, that of a last batch that cannot be divided among them too."""
    config = read_json(tiny_model / "config.json")
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2}
    base = rewritten(tiny_model, tmp_path / "base", {"config.json": json.dumps(config)})
    table = pq.read_table(prepared / "train.parquet").slice(0, 2 * 16 + 5)  # one process has 5 of the last, one none
    pq.write_table(table, tmp_path / "few.parquet")
    few = rewritten(prepared, tmp_path / "few", {"train.parquet": (tmp_path / "few.parquet").read_bytes()})
    losses = []
    for processes in (1, 2):
        settings = TrainSettings(
            epochs=1, learning_rate=1e-3, warmup_ratio=0.0, precision="fp32", class_weights=scheme, processes=processes
        )
        output = tmp_path / f"model-{processes}"
        train(str(few), str(output), base_model=base.as_uri(), settings=settings)
        losses.append([entry["loss"] for entry in read_json(output / "training.json")["log"] if "loss" in entry])
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_processes_are_one_tracked_run_with_the_model(
    prepared: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in [name for name in os.environ if name.startswith(("WANDB_", "KFP_TEXTCLF_RUN"))]:
        monkeypatch.delenv(name)
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    arguments = {"base_model": tiny_model.as_uri(), "settings": TrainSettings(epochs=1, precision="fp32", processes=2)}
    trained = train(str(prepared), str(tmp_path / "model"), **arguments, model_uri="s3://bucket/model")
    (directory,) = offline_directories(tmp_path)
    assert trained.tracking == {"mode": "offline", "directory": str(directory)}
    (artifact,) = read_log(directory).artifacts
    assert artifact["references"] == ["s3://bucket/model"]


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
