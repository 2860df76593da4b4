"""Durable checkpoints: kept in an object store, found again by the work that they belong to.

<checkpoint_uri>/<fingerprint of the work>/train/step-<n>/{model.safetensors, optimizer.pt, ..., manifest.json}

The manifest, with the sha256 of every file, is written last: a checkpoint without one is incomplete. Whoever starts the
same work again, a retry, a repeated run or another node, finds the newest complete one.
"""

import hashlib
import json
import shutil
import threading
import time
from dataclasses import asdict
from pathlib import Path

from kfp_textclf.components.common.artifacts import MANIFEST, read_json, sha256_of, verified, write_json, write_manifest
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.train.settings import TrainSettings

TRAINED_ON = ("train.parquet", "validation.parquet", "labels.json", "tokenizer.json", "tokenizer_config.json")
LIBRARIES = ("torch", "transformers", "accelerate")
NOT_STORED = "training_args.bin"  # a pickle that resuming has no use for
HISTORY = "history.json"
STATE = "trainer_state.json"
UPLOAD_SECONDS = 120.0  # how long training waits for an upload before it goes on without


def work_fingerprint(dataset: Path, base_model: Path, settings: TrainSettings, precision: str) -> str:
    """Return 32 hexadecimal digits that are the same exactly when a training would go the same way.

    Args:
        dataset: Directory of the prepared data set.
        base_model: Directory of the base model.
        settings: Hyper-parameters, seed included.
        precision: ``bf16`` or ``fp32``.
    """
    from importlib.metadata import version

    data = read_json(dataset / MANIFEST)["files"]
    stages = Path(__file__).parents[1]
    code = sorted([*(stages / "train").glob("*.py"), *(stages / "common").glob("*.py")])
    weights = [path for path in sorted(base_model.iterdir()) if path.suffix in (".json", ".safetensors")]
    work = {
        "data": {name: data[name]["sha256"] for name in TRAINED_ON if name in data},
        "base_model": {path.name: sha256_of(path) for path in weights},
        "settings": asdict(settings),
        "precision": precision,
        "code": {path.relative_to(stages).as_posix(): sha256_of(path) for path in code},
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()[:32]


class Checkpoints:
    """The checkpoints of one work.

    Attributes:
        uri: Where they lie.
        every: Steps between two of them. It is half of what may be lost, as the newest may be still on its way.
        resumed_from_steps: Steps that the work was resumed from, this time included.
        seconds_before: Time spent up to the checkpoint that it was resumed from.
    """

    def __init__(self, checkpoint_uri: str, fingerprint: str, steps: int) -> None:
        """Open the place of a work.

        Args:
            checkpoint_uri: ``file:///directory`` or ``s3://bucket/prefix``.
            fingerprint: Of the work.
            steps: The most steps that may be lost.

        Raises:
            UserError: The URI is malformed.
        """
        if steps < 1:
            raise UserError(f"checkpoint_steps={steps}: must be 1 or more")
        self.uri = f"{checkpoint_uri.rstrip('/')}/{fingerprint}/train"
        self.every = max(1, steps // 2)
        self.resumed_from_steps: list[int] = []
        self.seconds_before = 0.0
        self._store = open_store(self.uri, "checkpoint_uri")
        self._started = time.monotonic()
        self._upload: threading.Thread | None = None

    def restore(self, directory: Path) -> Path | None:
        """Fetch the newest usable checkpoint, and the best one so far, as the Trainer would have left them.

        Incomplete and damaged ones are passed over, with a line in the log.

        Args:
            directory: Output directory of the Trainer.

        Returns:
            The checkpoint's directory; None when there is none.
        """
        try:
            stored = self._stored()
        except Exception as error:  # a store that is down must not fail the training
            print(f"warning: {self.uri}: cannot be searched for checkpoints ({error}); training from the start")
            return None
        for step in sorted(stored, reverse=True):
            try:
                if MANIFEST not in stored[step]:
                    raise UserError(f"{MANIFEST} is missing")
                return self._fetch_with_best(step, directory)
            except Exception as error:  # whatever is wrong with it: an older one may be whole
                print(f"warning: {self.uri}/step-{step}: passed over, incomplete or damaged ({error})", flush=True)
                shutil.rmtree(directory / f"checkpoint-{step}", ignore_errors=True)
        return None

    def submit(self, directory: Path, step: int, best: int | None) -> None:
        """Store a checkpoint in the background once the one before it is stored, and delete local ones of no more use.

        Args:
            directory: Output directory of the Trainer.
            step: Step of the new checkpoint.
            best: Step of the best one so far, which must be there for the new one to be of use.
        """
        seconds = self.seconds_before + time.monotonic() - self._started
        history = {"seconds": seconds, "resumed_from_steps": self.resumed_from_steps}
        write_json(directory / f"checkpoint-{step}" / HISTORY, history)
        (directory / f"checkpoint-{step}" / NOT_STORED).unlink(missing_ok=True)
        if self.wait(UPLOAD_SECONDS):
            for local in directory.glob("checkpoint-*"):
                if local.name not in (f"checkpoint-{step}", f"checkpoint-{best}"):
                    shutil.rmtree(local)
            arguments = (directory, step, best)
            self._upload = threading.Thread(target=self._store_safely, args=arguments, name="upload", daemon=True)
            self._upload.start()

    def wait(self, seconds: float) -> bool:
        """Wait for the upload that is under way; return whether none is left, and say so otherwise."""
        if self._upload:
            self._upload.join(seconds)
            if self._upload.is_alive():
                print(f"warning: {self.uri}: an upload takes more than {seconds:.0f} s; going on without", flush=True)
                return False
        return True

    def _store_safely(self, directory: Path, step: int, best: int | None) -> None:
        try:
            stored = self._stored()
            if best not in (None, step) and MANIFEST not in stored.get(best, ()):
                self._put(directory / f"checkpoint-{best}", best)
            self._put(directory / f"checkpoint-{step}", step)
            complete = [s for s, names in stored.items() if MANIFEST in names and s < step]
            keep = {step, best, *sorted(complete)[-1:]}
            for other in stored.keys() - keep:
                self._delete(other, stored[other])
        except Exception as error:  # the store may be down: the training goes on without
            print(f"warning: {self.uri}/step-{step}: was not stored ({error})", flush=True)

    def _put(self, directory: Path, step: int) -> None:
        write_manifest(directory, "train_classifier")
        names = sorted(path.name for path in directory.iterdir() if path.name != MANIFEST)
        for name in [*names, MANIFEST]:
            self._store.upload(directory / name, f"step-{step}/{name}")

    def _fetch_with_best(self, step: int, directory: Path) -> Path:
        checkpoint = self._fetch(step, directory)
        state = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        best = state["best_global_step"]
        if best is not None:
            kept = checkpoint if best == step else self._fetch(best, directory)
            state["best_model_checkpoint"] = str(kept)  # it was a path of the machine before
            (checkpoint / STATE).write_text(json.dumps(state), encoding="utf-8")
        history = read_json(checkpoint / HISTORY)
        self.seconds_before = float(history["seconds"])
        self.resumed_from_steps = [*history["resumed_from_steps"], step]
        return checkpoint

    def _fetch(self, step: int, directory: Path) -> Path:
        target = directory / f"checkpoint-{step}"
        if target.exists():
            return target
        partial = directory / f".checkpoint-{step}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._store.download(f"step-{step}/{MANIFEST}", partial / MANIFEST)
        for name in read_json(partial / MANIFEST)["files"]:
            if Path(name).name != name:
                raise UserError(f"{MANIFEST}: names the file {name!r}, which is not one of a checkpoint")
            self._store.download(f"step-{step}/{name}", partial / name)
        return verified(partial).rename(target)

    def _stored(self) -> dict[int, set[str]]:
        """Return the names of the files of each stored checkpoint, by its step."""
        stored: dict[int, set[str]] = {}
        for key in self._store.keys(""):
            directory, _, name = key.partition("/")
            kind, _, step = directory.partition("-")
            if kind == "step" and step.isdecimal() and name:
                stored.setdefault(int(step), set()).add(name)
        return stored

    def _delete(self, step: int, names: set[str]) -> None:
        for name in sorted(names, key=lambda name: name != MANIFEST):  # the manifest first: it is incomplete from here
            self._store.delete(f"step-{step}/{name}")


def is_finished(checkpoint: Path) -> bool:
    """Return whether the training had come to its end, early or not, when a checkpoint was taken."""
    return read_json(checkpoint / STATE)["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"]


def discard(uri: str) -> None:
    """Delete the checkpoints of a work that is complete; a store that is down is left as it is, with a warning.

    Args:
        uri: `Checkpoints.uri`; nothing is done when it is empty.
    """
    if not uri:
        return
    try:
        store = open_store(uri)
        for key in sorted(store.keys(""), key=lambda key: not key.endswith(f"/{MANIFEST}")):
            store.delete(key)
    except Exception as error:  # the model is complete: leftovers are no reason to fail
        print(f"warning: {uri}: the checkpoints could not be deleted ({error})", flush=True)
