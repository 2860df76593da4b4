"""Train one candidate of a sweep; a candidate that crashes is a result, not a failure."""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.base_models import without_version
from kfp_textclf.components.common.candidates import FAILED, RECORD, TRAINED, UNTRIED
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus


@dataclass(frozen=True)
class Candidate:
    """What became of a candidate.

    Attributes:
        name: What it is called in reports.
        parameters: Its training parameters, ``base_model`` among them.
        state: ``trained``, ``failed``, or ``untried`` when there was no screening.
        metric: Value of its ``metric_for_best_model`` on the validation rows; 0 unless trained.
        seconds: Time spent training.
        error: Why it failed.
    """

    name: str
    parameters: dict[str, Any]
    state: str
    metric: float = 0.0
    seconds: float = 0.0
    error: str = ""

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return asdict(self)


def train_candidate(
    dataset: str,
    output: str,
    *,
    candidate: dict[str, Any],
    base_model: str,
    screening_epochs: int = -1,
    checkpoint_uri: str = "",
    checkpoint_steps: int = 200,
    prices: dict[str, Any] | None = None,
) -> Candidate:
    """Train with the parameters of a candidate, in a process of its own.

    Args:
        dataset: Directory of the prepared data set; tokenised again here for a candidate with another base model.
        output: Directory to write: the fine-tuned model and ``candidate.json``, or that file alone after a failure.
        candidate: ``name``, and any of the training parameters and ``base_model``.
        base_model: URI of the model that ``dataset`` was tokenised for; a candidate may name another.
        screening_epochs: Train this long only, to see whether the candidate is worth it; 0 does not train at all, and
            -1 trains as long as the candidate says.
        checkpoint_uri: As in the training step.
        checkpoint_steps: As in the training step.
        prices: As in the training step.

    Raises:
        UserError: The data set is unusable; what is wrong with the candidate is recorded, not raised.
    """
    source = verified(dataset)
    candidate = {name: _whole(value) for name, value in candidate.items()}
    settings = {name: value for name, value in candidate.items() if name not in ("name", "base_model")}
    plain_base = str(candidate.get("base_model") or without_version(base_model))
    wanted_base = base_model if plain_base == without_version(base_model) else plain_base
    if screening_epochs > 0:
        settings["epochs"] = min(screening_epochs, settings.get("epochs", screening_epochs))
    parameters = {**{k: v for k, v in candidate.items() if k != "name"}, "base_model": plain_base}
    name = str(candidate.get("name") or json.dumps(parameters, sort_keys=True))
    print(f"candidate: {name}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="kfp-textclf-candidate-") as scratch,
        atomic_directory(output, "train_candidate") as target,
    ):
        model = Path(scratch) / "model"
        job = {
            "dataset": str(source),
            "output": str(model),
            "base_model": wanted_base,
            "settings": settings,
            "checkpoint_uri": checkpoint_uri,
            "checkpoint_steps": checkpoint_steps,
            "prices": prices or {},
        }
        error = _train(job, base_model, Path(scratch)) if screening_epochs else ""
        if error or not screening_epochs:
            result = Candidate(name, parameters, FAILED if error else UNTRIED, error=error)
        else:
            trained = read_json(verified(model) / "training.json")
            result = Candidate(name, parameters, TRAINED, trained["best_metric"], trained["seconds"])
            for file in model.iterdir():
                if file.name != MANIFEST:
                    shutil.move(file, target / file.name)
        write_json(target / RECORD, result.metadata())
    return result


def _train(job: dict[str, Any], tokenised_for: str, scratch: Path) -> str:
    """Do a training in a process of its own; return what went wrong, or nothing."""
    try:
        if job["base_model"] != tokenised_for:
            job["dataset"] = str(_retokenised(Path(job["dataset"]), job["base_model"], scratch / "dataset"))
        return _run(job, scratch / "job.json")
    except UserError as refused:
        return str(refused)


def _whole(value: Any) -> Any:
    """Return 4 for 4.0: KFP passes every number in a mapping as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _retokenised(dataset: Path, base_model: str, output: Path) -> Path:
    """Write the data set with the tokens of another base model."""
    import pyarrow.parquet as pq

    from kfp_textclf.components.common.base_models import resolve_base_model
    from kfp_textclf.components.common.tokenising import TokenisedTable, load_tokenizer, save_tokenizer

    directory = resolve_base_model(base_model)
    truncation = read_json(dataset / "tokenizer.json").get("truncation") or {"max_length": 128}
    tokenizer = load_tokenizer(directory, truncation["max_length"])
    with atomic_directory(output, "train_candidate") as target:
        for split in ("train", "validation"):
            file = pq.ParquetFile(dataset / f"{split}.parquet")
            with TokenisedTable(target / f"{split}.parquet", tokenizer) as table:
                for batch in file.iter_batches(columns=["text", "label"]):
                    for row in batch.to_pylist():
                        table.add(row["text"], row["label"])
        shutil.copyfile(dataset / "labels.json", target / "labels.json")
        save_tokenizer(tokenizer, directory, target)
    return output


def _run(job: dict[str, Any], job_file: Path) -> str:
    """Run a training process and pass its output on; return why it failed, or nothing."""
    write_json(job_file, job)
    command = [sys.executable, "-m", "kfp_textclf.components.train.process", str(job_file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")  # noqa: S603
    previous = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: process.send_signal(signal.SIGTERM))
    tail: deque[str] = deque(maxlen=3)
    try:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            if line.strip():
                tail.append(line.strip())
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, previous)
        process.kill()
    if code == 0:
        return ""
    if code == 143:
        sys.exit(code)  # preempted: the step is to be tried again
    last = tail[-1] if tail else "no output"
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return last.removeprefix("error: ") if code == 2 else f"{how} on {available_cpus()} CPUs: {last}"
