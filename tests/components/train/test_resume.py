"""Trainings that are killed and started again: they end with the weights of an undisturbed one."""

import os
import re
import shutil
import signal
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from stage_inputs import rewritten

from kfp_textclf.components.common.artifacts import read_json, sha256_of
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import LocalStore, open_store
from kfp_textclf.components.train import callbacks, checkpoints, fine_tuning, stage
from kfp_textclf.components.train.preemption import Preempted
from kfp_textclf.components.train.stage import TrainedModel, train


class Killed(BaseException):
    """Stands in for SIGKILL, without losing what pytest has imported: nothing in the code catches it."""


STEPS_PER_EPOCH = 8


def finish_uploads() -> None:
    for thread in threading.enumerate():
        if thread.name == "upload":
            thread.join()


@pytest.fixture
def work(trained: SimpleNamespace, prepared: Path, tiny_model: Path, tmp_path: Path, monkeypatch):
    """A training of 40 steps that can be ended before a step, by SIGTERM or as if by SIGKILL."""
    store = tmp_path / "checkpoints"

    def run(name: str, kill_at: int = -1, term_at: int = -1, uri: str = store.as_uri(), **changes) -> TrainedModel:
        class Killer(callbacks.ProgressCallback):
            def on_step_begin(self, args, state, control, **_):
                if state.global_step == term_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                if state.global_step == kill_at:
                    finish_uploads()
                    raise Killed

        monkeypatch.setattr(callbacks, "ProgressCallback", Killer)
        settings = replace(trained.settings, **{"epochs": 5, "early_stopping_patience": 0, **changes})
        arguments = {"base_model": tiny_model.as_uri(), "settings": settings}
        try:
            return train(str(prepared), str(tmp_path / name), **arguments, checkpoint_uri=uri, checkpoint_steps=6)
        finally:
            finish_uploads()

    def undisturbed(**changes) -> SimpleNamespace:
        return SimpleNamespace(result=run("undisturbed", uri="", **changes), directory=tmp_path / "undisturbed")

    return SimpleNamespace(run=run, undisturbed=undisturbed, store=store, root=tmp_path)


def weights(directory: Path) -> str:
    return sha256_of(directory / "model.safetensors")


def stored(work: SimpleNamespace) -> dict[int, Path]:
    return {int(path.name[5:]): path for path in work.store.glob("*/train/step-*")}


@pytest.fixture(scope="module")
def undisturbed(trained: SimpleNamespace, prepared: Path, tiny_model: Path, tmp_path_factory) -> SimpleNamespace:
    """The same training from its start to its end, without a place for checkpoints."""
    output = tmp_path_factory.mktemp("undisturbed") / "model"
    settings = replace(trained.settings, epochs=5, early_stopping_patience=0)
    result = train(str(prepared), str(output), base_model=tiny_model.as_uri(), settings=settings)
    return SimpleNamespace(directory=output, result=result)


def assert_same(work: SimpleNamespace, result: TrainedModel, undisturbed: SimpleNamespace) -> None:
    assert weights(work.root / "model") == weights(undisturbed.directory)
    for name in ("validation", "best_epoch", "best_metric", "epochs", "tokens"):
        assert getattr(result, name) == getattr(undisturbed.result, name), name


@pytest.mark.parametrize("kills", [[1], [8], [9], [21, 30, 39], [12, 17, 17, 25]], ids=str)
def test_weights_are_those_of_an_undisturbed_training(work, undisturbed, kills: list[int]) -> None:
    for kill in kills:
        with pytest.raises(Killed):
            work.run("model", kill_at=kill)
        assert not (work.root / "model").exists()
    result = work.run("model")
    assert_same(work, result, undisturbed)
    lost = [kill - step for kill, step in zip(kills[-1:], result.resumed_from_steps[-1:], strict=False)]
    assert all(0 <= steps <= 6 for steps in lost)
    assert bool(result.resumed_from_steps) == (kills != [1])
    assert read_json(work.root / "model" / "training.json")["resumed_from_steps"] == result.resumed_from_steps


def test_taking_checkpoints_changes_nothing(work, undisturbed) -> None:
    assert_same(work, work.run("model"), undisturbed)


def test_batches_filled_by_another_process_change_nothing(work, undisturbed, monkeypatch) -> None:
    """As on a GPU, whose batches are filled ahead, across a kill too."""

    def filled_ahead(*given, **named):
        arguments = training_arguments(*given, **named)
        arguments.dataloader_num_workers = 1
        return arguments

    training_arguments = fine_tuning.training_arguments
    monkeypatch.setattr(fine_tuning, "training_arguments", filled_ahead)
    with pytest.raises(Killed):
        work.run("model", kill_at=21)
    assert_same(work, work.run("model"), undisturbed)


@pytest.mark.parametrize("step", [0, 7, 8, 20])
def test_sigterm_ends_the_process_with_143_after_a_checkpoint(work, undisturbed, step: int, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        work.run("model", term_at=step)
    assert ended.value.code == 143
    assert isinstance(ended.value, Preempted)
    assert max(stored(work)) == step + 1
    result = work.run("model")
    assert f"resumed from step {step + 1} of 40" in capsys.readouterr().out
    assert result.resumed_from_steps == [step + 1]
    assert_same(work, result, undisturbed)


def test_sigterm_without_a_place_for_checkpoints_ends_with_143_too(work) -> None:
    with pytest.raises(Preempted):
        work.run("model", term_at=3, uri="")
    assert not (work.root / "model").exists()


@pytest.mark.parametrize("patience", [0, 1])
def test_a_training_that_is_complete_is_neither_stopped_nor_repeated(work, monkeypatch, patience: int) -> None:
    """SIGTERM in its last step, then a kill while the output is written."""
    settings = {"early_stopping_patience": patience, "learning_rate": 1e-9 if patience else 3e-3}
    undisturbed = work.undisturbed(**settings)
    last = int(undisturbed.result.epochs * STEPS_PER_EPOCH)
    assert (last < 40) == bool(patience)
    with monkeypatch.context() as patched:
        patched.setattr(stage, "atomic_directory", Mock(side_effect=Killed))
        with pytest.raises(Killed):
            work.run("model", term_at=last - 1, **settings)
    assert max(stored(work)) == last
    assert_same(work, work.run("model", kill_at=last, **settings), undisturbed)


def test_patience_survives(work) -> None:
    settings = {"early_stopping_patience": 2, "learning_rate": 1e-9}
    undisturbed = work.undisturbed(**settings)
    assert undisturbed.result.epochs == 3
    with pytest.raises(Killed):
        work.run("model", kill_at=2 * STEPS_PER_EPOCH + 3, **settings)
    assert_same(work, work.run("model", **settings), undisturbed)


def newest(work: SimpleNamespace) -> Path:
    return stored(work)[max(stored(work))]


DAMAGE = {
    "no manifest": lambda step: (step / "manifest.json").unlink(),
    "manifest cut off": lambda step: (step / "manifest.json").write_text('{"files": {"model.safe'),
    "manifest of another kind": lambda step: (step / "manifest.json").write_text("[]"),
    "file missing": lambda step: (step / "optimizer.pt").unlink(),
    "file cut off": lambda step: (step / "optimizer.pt").write_bytes((step / "optimizer.pt").read_bytes()[:-1]),
    "bit turned": lambda step: (step / "model.safetensors").write_bytes(
        bytes([(content := (step / "model.safetensors").read_bytes())[0] ^ 1]) + content[1:]
    ),
    "file that is none of its own": lambda step: (step / "manifest.json").write_text(
        (step / "manifest.json").read_text().replace("optimizer.pt", "../step-12/optimizer.pt")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_incomplete_and_damaged_checkpoints_are_passed_over(work, undisturbed, damage: str, capsys) -> None:
    with pytest.raises(Killed):
        work.run("model", kill_at=22)
    steps = sorted(stored(work))
    DAMAGE[damage](newest(work))
    capsys.readouterr()
    with pytest.raises(Killed):  # once more: what is newer but damaged must not displace what is older and whole
        work.run("model", kill_at=steps[-2] + 2)
    log = capsys.readouterr().out
    assert f"step-{steps[-1]}: passed over, incomplete or damaged" in log
    assert f"resumed from step {steps[-2]} of 40" in log
    assert_same(work, work.run("model"), undisturbed)


def test_without_the_best_one_a_checkpoint_is_of_no_use(work, undisturbed) -> None:
    with pytest.raises(Killed):
        work.run("model", kill_at=39)
    best = read_json(newest(work) / "trainer_state.json")["best_global_step"]
    assert best < min(step for step in stored(work) if step != best) - 1  # kept though older
    shutil.rmtree(stored(work)[best])
    result = work.run("model")
    assert result.resumed_from_steps == []
    assert_same(work, result, undisturbed)


def test_retention(work) -> None:
    with pytest.raises(Killed):
        work.run("model", kill_at=38)
    best = read_json(newest(work) / "trainer_state.json")["best_global_step"]
    assert sorted(stored(work)) == sorted({33, 36, best})
    names = {path.name for path in newest(work).iterdir()}
    assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "manifest.json"} <= names
    assert "training_args.bin" not in names  # a pickle


def test_complete_work_leaves_no_checkpoints(work) -> None:
    result = work.run("model")
    assert result.checkpoint_uri.startswith(work.store.as_uri())
    checkpoints.discard(result.checkpoint_uri)
    assert [path for path in work.store.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("change", [{"seed": 5}, {"learning_rate": 1e-3}, {"epochs": 4}], ids=str)
def test_other_work_starts_at_its_own_beginning(work, change: dict) -> None:
    with pytest.raises(Killed):
        work.run("model", kill_at=20)
    assert work.run("model", **change).resumed_from_steps == []


def test_other_data_or_base_model_or_precision_is_other_work(trained, prepared, tiny_model, tmp_path: Path) -> None:
    settings = trained.settings
    same = checkpoints.work_fingerprint(prepared, tiny_model, settings, "fp32")
    assert (
        checkpoints.work_fingerprint(rewritten(prepared, tmp_path / "same", {}), tiny_model, settings, "fp32") == same
    )
    retested = rewritten(prepared, tmp_path / "test", {"test.parquet": b"other"})
    assert checkpoints.work_fingerprint(retested, tiny_model, settings, "fp32") == same
    relabelled = rewritten(prepared, tmp_path / "labels", {"labels.json": '["a", "b", "c"]'})
    retrained = rewritten(tiny_model, tmp_path / "base", {"model.safetensors": b"other"})
    others = [
        checkpoints.work_fingerprint(relabelled, tiny_model, settings, "fp32"),
        checkpoints.work_fingerprint(prepared, retrained, settings, "fp32"),
        checkpoints.work_fingerprint(prepared, tiny_model, settings, "bf16"),
    ]
    assert len({same, *others}) == 4


def test_a_store_that_cannot_be_written_does_not_fail_the_training(work, undisturbed, capsys) -> None:
    (work.root / "file").write_text("no directory")
    result = work.run("model", uri=(work.root / "file" / "store").as_uri())
    assert_same(work, result, undisturbed)
    assert re.search(r"warning: file://.*/step-3: was not stored \(.*\)", capsys.readouterr().out)


def test_a_store_that_comes_back_is_used_again(work, undisturbed, monkeypatch) -> None:
    """The best checkpoint was never stored: the next upload brings it too."""
    upload = LocalStore.upload
    monkeypatch.setattr(
        LocalStore, "upload", lambda store, path, key: "step-8/" not in key and upload(store, path, key)
    )
    with pytest.raises(Killed):
        work.run("model", kill_at=9, learning_rate=1e-9)
    monkeypatch.undo()
    with pytest.raises(Killed):
        work.run("model", kill_at=20, learning_rate=1e-9)
    assert work.run("model", learning_rate=1e-9).resumed_from_steps[-1] == 18


@pytest.mark.parametrize("uri", ["gs://bucket/x", "checkpoints", "s3://", "file://host/x"])
def test_a_malformed_uri_is_the_users_to_mend(work, uri: str) -> None:
    with pytest.raises(UserError, match=r"^checkpoint_uri"):
        work.run("model", uri=uri)


@pytest.mark.s3
def test_checkpoints_in_a_bucket(work, undisturbed, s3_uri: str) -> None:
    uri = f"{s3_uri}/checkpoints"
    for kill in (13, 27):
        with pytest.raises(Killed):
            work.run("model", uri=uri, kill_at=kill)
    result = work.run("model", uri=uri)
    assert result.resumed_from_steps == [12, 27]
    assert_same(work, result, undisturbed)
    checkpoints.discard(result.checkpoint_uri)
    assert list(open_store(uri).keys()) == []


@pytest.mark.s3
def test_a_bucket_that_is_not_there_does_not_fail_the_training(work, undisturbed, s3_uri: str, capsys) -> None:
    assert_same(work, work.run("model", uri="s3://no-such-bucket/x"), undisturbed)
    assert "cannot be searched for checkpoints" in capsys.readouterr().out
