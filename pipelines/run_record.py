"""What a run left in its directory, however it ended: its state, steps and logs, and its result if it has one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.markdown import log_lines
from kfp_textclf.components.common.tracking_environment import without_secrets
from kfp_textclf.pipelines import runs
from kfp_textclf.pipelines.compare import load_run
from kfp_textclf.pipelines.runs import METRICS, Run

SUCCEEDED, FAILED, CANCELED, UNKNOWN = "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"
ENDED_BADLY = {"FAILED": FAILED, "ERROR": FAILED, "CANCELED": CANCELED, "CANCELING": CANCELED}
LOG_BYTES = 400_000  # that are read of a log, from its end
_LOG = re.compile(r"(\d+)-([\w-]+)\.log")


@dataclass(frozen=True)
class RecordedStep:
    """A step of a run: its state, and where it is known how long it took in seconds, and what that cost."""

    name: str
    state: str
    seconds: float | None = None
    cached: bool = False
    cost: float | None = None
    energy_wh: float | None = None
    candidate: str = ""

    @property
    def title(self) -> str:
        """Its name, and what a sweep tried in it."""
        return f"{self.name} {self.candidate}".rstrip()


@dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
        name: What it is called.
        state: ``SUCCEEDED``, ``FAILED``, ``CANCELED``, or ``UNKNOWN`` for one that has not ended or was killed.
        content: Of ``metrics.json``; empty when there is none.
        steps: In the order in which they ran.
        failed_step: Name of the step that failed, if that is known.
        error: The last lines that tell why it failed.
        logs: Lines by the name of the log, in the order of the steps.
        run: The same for a comparison with other runs; None when it has no result.
        problem: Why a part of the record cannot be read.
    """

    name: str
    state: str
    content: dict[str, Any] = field(default_factory=dict)
    steps: Sequence[RecordedStep] = ()
    failed_step: str = ""
    error: str = ""
    logs: Mapping[str, list[str]] = field(default_factory=dict)
    run: Run | None = None
    problem: str = ""


def find_record(name: str, directory: Path) -> RunRecord:
    """Find a run, whether or not it ended well.

    Args:
        name: A name that `load_run` takes.
        directory: Where runs are kept.

    Raises:
        UserError: There is no such run.
    """
    known = name.removeprefix("kfp:")
    for place in (directory / known, Path(known)) if known else ():
        if any((place / part).exists() for part in (METRICS, "logs", "pipeline.yaml")):
            return read_record(place.resolve())
    run = load_run(name, directory)
    return RunRecord(name, SUCCEEDED, content=run.content, run=run)


def read_record(directory: Path) -> RunRecord:
    """Read the directory of a run, of which any part may be missing or damaged."""
    content, run, problems = {}, None, []
    try:
        read = read_json(directory / METRICS) if (directory / METRICS).is_file() else {}
        content = read if isinstance(read, dict) else {}
        if "variants" in content:
            run = runs.local_run(directory, directory.name, "kfp" if content.get("link") else "local")
    except UserError as error:
        problems.append(str(error))
    logs = dict(_logs(directory / "logs"))
    steps = list(_steps(content.get("steps"))) or _steps_of_logs(logs)
    stated = str(content.get("state") or "")
    state = SUCCEEDED if run and stated in ("", SUCCEEDED) else ENDED_BADLY.get(stated, stated or UNKNOWN)
    if state not in (SUCCEEDED, FAILED, CANCELED):
        state = UNKNOWN
    return RunRecord(
        name=str(content.get("run_id") or directory.name),
        state=state,
        content=content,
        steps=steps,
        failed_step=str(content.get("failed_step") or ""),
        error=without_secrets(str(content.get("error") or "")),
        logs=logs,
        run=run,
        problem="; ".join(problems),
    )


def _steps(recorded: Any) -> Sequence[RecordedStep]:
    """Return the steps that are listed, as far as they can be understood."""
    steps = []
    for step in recorded if isinstance(recorded, list) else ():
        if isinstance(step, dict) and "name" in step:
            figures = {name: _number(step.get(name)) for name in ("seconds", "cost", "energy_wh")}
            steps.append(
                RecordedStep(
                    name=str(step["name"]),
                    state=str(step.get("state") or SUCCEEDED),
                    seconds=figures["seconds"],
                    cached=bool(step.get("cached")),
                    cost=figures["cost"],
                    energy_wh=figures["energy_wh"],
                    candidate=str(step.get("candidate") or ""),
                )
            )
    return steps


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _logs(directory: Path) -> list[tuple[str, list[str]]]:
    """Return name and lines of each log: those of the steps in their order, then the others."""
    found = sorted(directory.glob("*.log"), key=_order) if directory.is_dir() else []
    return [(path.stem, log_lines(without_secrets(_tail(path)))) for path in found if path.is_file()]


def _order(path: Path) -> tuple[int, str]:
    numbered = _LOG.fullmatch(path.name)
    return (int(numbered[1]) if numbered else 10**9, path.name)


def _tail(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return file.read(LOG_BYTES).decode(errors="replace")


def _steps_of_logs(logs: Mapping[str, list[str]]) -> list[RecordedStep]:
    """Return the steps that a run began, by its logs: how the last one ended is not known."""
    names = [found[2] for found in (_LOG.fullmatch(f"{name}.log") for name in logs) if found]
    return [RecordedStep(name, UNKNOWN if name == names[-1] else SUCCEEDED) for name in names]
