"""Running the compiled training pipeline on this machine, with progress, logs per step, and resume."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.tracking_environment import RUN_ENVIRONMENT, wanted_mode
from kfp_textclf.components.images import ENVIRONMENT
from kfp_textclf.pipelines.containers import remove_containers
from kfp_textclf.pipelines.progress import ProgressDisplay, Step
from kfp_textclf.pipelines.sources import current_images

_STARTED = re.compile(r"Executing task '([\w-]+)'")
_CANDIDATE = re.compile(r"\s*candidate: (.+)")
_FINISHED = re.compile(r"Task '([\w-]+)' finished with status (\w+)")
_REUSED = re.compile(r"Task ([\w-]+) cache hit")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")
FULL = os.strerror(errno.ENOSPC)
_USER_ERROR = re.compile(rf"^\s*{re.escape(UserError.__module__)}\.{UserError.__name__}: (.*)$")


class StepFailed(Exception):
    """A step of a run failed for a reason that is not the user's input; the message says where its log is."""


@dataclass
class LocalRun:
    """A run on this machine: its directory, its steps, and the outputs of the pipeline."""

    directory: Path
    arguments: dict[str, Any]
    pipeline: str = "training"
    steps: list[Step] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)

    def artifact(self, name: str) -> Path:
        """Return where an output artifact lies."""
        return Path(self.outputs[name]["uri"])

    def metadata(self, name: str) -> dict[str, Any]:
        """Return the metadata of an output artifact."""
        return self.outputs[name]["metadata"]


def run_locally(
    directory: Path,
    root: Path,
    arguments: Mapping[str, Any],
    caching: bool = True,
    memory: str = "",
    pipeline: str = "training",
) -> LocalRun:
    """Run a pipeline.

    Args:
        directory: Directory of this run; logs and the compiled pipeline go there.
        root: Where the artifacts of all runs lie, and the cache that lets a run continue where an earlier one ended.
        arguments: Pipeline arguments.
        caching: Reuse the results of steps that ran before with the same inputs and code.
        memory: Run every step in its container, with at most this much memory; in a process of its own when empty.
        pipeline: Its name, ``training`` or ``sweep``.

    Raises:
        UserError: A step refused its input.
        StepFailed: A step failed otherwise.
    """
    run = LocalRun(directory, dict(arguments), pipeline)
    (directory / "logs").mkdir(parents=True)
    _record(run, "RUNNING")
    with tempfile.TemporaryDirectory(prefix="kfp-textclf-") as scratch:
        job = {
            "run": str(directory),
            "pipeline_root": str(root.resolve()),
            "cache_root": str(root.resolve() / (".cache-docker" if memory else ".cache")),
            "workspace_root": f"{scratch}/workspace",
            "compiled": str(directory / "pipeline.yaml"),
            "pipeline": pipeline,
            "outputs": f"{scratch}/outputs.json",
            "arguments": run.arguments,
            "caching": caching,
            "memory": memory,
        }
        job_file = Path(scratch) / "job.json"
        job_file.write_text(json.dumps(job), encoding="utf-8")
        try:
            code = _work(run, job_file, scratch)
        except KeyboardInterrupt:
            _record(run, "CANCELED")
            raise
        finally:
            if memory:
                remove_containers(str(directory))
        if code != 0:
            failure = _failure(run, code)
            _record(run, "FAILED", str(failure))
            raise failure
        run.outputs = read_json(Path(job["outputs"]))
    return run


def _work(run: LocalRun, job_file: Path, scratch: str) -> int:
    """Run the worker process to its end, following its output; return its exit code."""
    environment = {
        **os.environ,
        ENVIRONMENT: json.dumps(current_images()),
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),  # spinning threads starve each other
        "TMPDIR": scratch,  # kfp leaves a directory there for every step
        "TOKENIZERS_PARALLELISM": "true",
        RUN_ENVIRONMENT: run.directory.name,
    }
    if wanted_mode()[0] != "none":
        environment.setdefault("WANDB_DIR", str(run.directory))
    command = [sys.executable, "-m", "kfp_textclf.pipelines.local_worker", str(job_file)]
    worker = subprocess.Popen(  # noqa: S603
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    threading.Thread(target=_end_with, args=(worker,), daemon=True).start()
    try:
        _follow(run, worker.stdout or ())
        return worker.wait()
    finally:
        _kill_group(worker)


def _end_with(worker: "subprocess.Popen[str]") -> None:
    """Wait for the worker, and end what it leaves behind: that would keep the output open which `_follow` reads."""
    worker.wait()
    _kill_group(worker)


def _kill_group(worker: "subprocess.Popen[str]") -> None:
    """Kill what is left of the worker's process group; a step may outlive a killed worker."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def _step_count(run: LocalRun) -> int:
    """Return how many steps a run has at most."""
    if run.pipeline == "sweep":
        tried = len(run.arguments["candidates"])
        return 10 + tried + min(tried, run.arguments["keep"] + 1)
    return 9


def _follow(run: LocalRun, lines: Iterable[str]) -> None:
    """Sort the worker's lines into one log per step, and keep the steps' states."""
    display = ProgressDisplay(_step_count(run))
    step: Step | None = None
    started = 0.0
    with (run.directory / "logs" / "pipeline.log").open("w", encoding="utf-8") as pipeline_log:
        log = pipeline_log
        for raw in lines:
            line = _COLOR.sub("", raw)
            if reused := _REUSED.search(line):
                cached = Step(reused[1], cached=True, status="done")
                run.steps.append(cached)
                display.start(cached)
                display.end(cached)
            elif begun := _STARTED.search(line):
                step, started = Step(begun[1]), time.monotonic()
                run.steps.append(step)
                display.start(step)
                log = _log_file(run, step).open("w", encoding="utf-8")
            elif step and (finished := _FINISHED.search(line)):
                step.seconds = time.monotonic() - started
                step.status = "done" if finished[2] == "SUCCESS" else "failed"
                display.end(step)
                _record(run, "RUNNING")
                log.close()
                log, step = pipeline_log, None
            elif step:
                if candidate := _CANDIDATE.match(line):
                    step.candidate = candidate[1]
                display.line(step, line)
            log.write(line)
            log.flush()
        if step:
            step.status = "failed"
            display.end(step)
            log.close()


def _log_file(run: LocalRun, step: Step) -> Path:
    return run.directory / "logs" / f"{run.steps.index(step) + 1}-{step.name}.log"


def _record(run: LocalRun, state: str, error: str = "") -> None:
    """Leave how far a run has come, or how it ended without a result."""
    failed = next((step.name for step in run.steps if step.status == "failed"), "")
    states = {"done": "SUCCEEDED", "failed": state}
    steps = [
        {"name": s.name, "state": states.get(s.status, state), "seconds": round(s.seconds, 3), "cached": s.cached}
        for s in run.steps
    ]
    how = {"run_id": run.directory.name, "state": state, "failed_step": failed, "error": error}
    write_json(run.directory / "metrics.json", {**how, "arguments": run.arguments, "steps": steps})


def _failure(run: LocalRun, code: int) -> Exception:
    """Return the exception that tells why the worker ended with a code other than 0."""
    failed = next((step for step in run.steps if step.status == "failed"), None)
    log = _log_file(run, failed) if failed else run.directory / "logs" / "pipeline.log"
    lines = [line.rstrip() for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    for line in reversed(lines):
        if refused := _USER_ERROR.match(line):
            return UserError(refused[1])
    if any(FULL in line for line in lines):
        return UserError(f"{run.directory.parent}: {FULL}; make room, and run the same command again")
    name = failed.name if failed else "the pipeline"
    tail = "\n".join(lines[-25:])
    return StepFailed(f"{tail}\n\n{name} failed (exit code {code}); whole log: {log}")


def new_run_directory(runs: Path, name: str) -> Path:
    """Return a directory for a new run below ``runs``, named by time and data set.

    Raises:
        UserError: It cannot be made, or ``latest`` beside it is in the way.
    """
    if (latest := runs / "latest").exists() and not latest.is_symlink():
        raise UserError(f"{latest}: is no link to the newest run; move it away")
    stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
    for number in range(1000):
        directory = runs.resolve() / (stem if not number else f"{stem}-{number}")
        try:
            directory.mkdir(parents=True)
        except FileExistsError:
            if not directory.is_dir():
                raise UserError(f"{directory}: cannot be written; choose another RUNS directory") from None
            continue
        except OSError as error:
            raise UserError(
                f"{directory}: cannot be written ({error.strerror}); choose another RUNS directory"
            ) from error
        return directory
    raise UserError(f"{runs}: holds too many runs of this second")


def point_latest(directory: Path) -> None:
    """Make ``latest`` beside the run's directory point to it."""
    latest, partial = directory.parent / "latest", directory.parent / f".latest-{os.getpid()}"
    partial.symlink_to(directory.name)
    partial.replace(latest)
