"""Following a run on a cluster to its end."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kfp_textclf.pipelines.cluster import Cluster, LostConnection

SUCCEEDED, FAILED, CANCELED = "SUCCEEDED", "FAILED", "CANCELED"
TERMINAL = (SUCCEEDED, FAILED, CANCELED, "SKIPPED", "ERROR")
LOST_AFTER = 10  # polls without an answer
SCHEDULING = ("nodes are available", "Unschedulable", "ImagePull", "Pending")
SAY_WHY_AFTER = 60.0  # seconds that a pod may wait before it is said


class TimedOut(Exception):
    """The run is still going on, and the caller does not wait any longer."""


@dataclass
class Step:
    """A step of the pipeline as the server sees it.

    Attributes:
        name: The task's name.
        state: Such as ``RUNNING``.
        seconds: How long it took, or has taken.
        error: Why it failed.
        waiting: Why its pod has not started.
    """

    name: str
    state: str
    seconds: float = 0.0
    error: str = ""
    waiting: str = ""


@dataclass
class RunStatus:
    """A run as the server sees it."""

    state: str
    error: str = ""
    steps: list[Step] = field(default_factory=list)

    @property
    def failed_step(self) -> Step | None:
        """The step that failed first, if the server says so."""
        failed = [step for step in self.steps if step.state in (FAILED, "ERROR")]
        return next((step for step in failed if step.error), failed[0] if failed else None)


def status_of(run: Any, steps: list[str]) -> RunStatus:
    """Read a run of the API.

    Args:
        run: ``V2beta1Run``.
        steps: Names of the pipeline's tasks; the server's list also holds drivers, loops and pods, which are left out.
    """
    details = {}
    for task in (run.run_details.task_details or ()) if run.run_details else ():
        name = task.display_name or ""
        if name in steps:
            details[name] = Step(name, str(task.state or "PENDING"), _seconds(task), _error(task), _waiting(task))
    state = str(run.state or "PENDING")
    return RunStatus(state, _message(run.error), [details[name] for name in steps if name in details])


def follow(
    cluster: Cluster, run_id: str, steps: list[str], say: Callable[[str], None], timeout: float, poll: float
) -> RunStatus:
    """Wait for a run to end, and say whenever a step's state changes.

    Args:
        cluster: The server.
        run_id: The run.
        steps: Names of the pipeline's tasks.
        say: Takes a line at a time.
        timeout: Seconds to wait; 0 for ever.
        poll: Seconds between questions.

    Raises:
        TimedOut: The run has not ended in time; it goes on.
        UserError: The server refuses, or does not answer for a long time.
    """
    seen: dict[str, str] = {}
    complained: set[str] = set()
    started, lost = time.monotonic(), 0
    while True:
        try:
            status = status_of(cluster.call(cluster.client.get_run, run_id), steps)
            lost = 0
        except LostConnection as error:
            lost += 1
            if lost > LOST_AFTER:
                raise
            if lost == 1:
                say(f"{error} (asking again)")
            status = None
        if status:
            for step in status.steps:
                if seen.get(step.name) != step.state:
                    seen[step.name] = step.state
                    say(_line(step, steps))
                if step.waiting and step.name not in complained:
                    complained.add(step.name)
                    say(f"{step.name}: its pod waits: {step.waiting}")
            if status.state in TERMINAL:
                return _settled(cluster, run_id, steps, status)
        waited = time.monotonic() - started
        if timeout and waited > timeout:
            raise TimedOut(_why_waiting(status))
        if status and waited > SAY_WHY_AFTER and "" not in complained and not any(_running(s) for s in status.steps):
            complained.add("")
            say(_why_waiting(status))
        time.sleep(poll)


def _settled(cluster: Cluster, run_id: str, steps: list[str], status: RunStatus) -> RunStatus:
    """Ask again: the steps' states lag behind the run's."""
    for _ in range(3):
        if all(step.state in TERMINAL for step in status.steps):
            break
        with contextlib.suppress(LostConnection):
            status = status_of(cluster.call(cluster.client.get_run, run_id), steps)
        time.sleep(0.5)
    return status


def _running(step: Step) -> bool:
    return step.state == "RUNNING" and not step.waiting


def _why_waiting(status: RunStatus | None) -> str:
    steps = status.steps if status else []
    waiting = [step for step in steps if step.waiting]
    if waiting:
        return f"{waiting[0].name}: its pod waits: {waiting[0].waiting}"
    unfinished = [step.name for step in steps if step.state not in TERMINAL]
    if unfinished:
        return (
            f"{unfinished[0]} has not ended; if its pod is pending, the pool may lack GPUs or the node selector match "
            "no node: kubectl get pods, kubectl describe pod"
        )
    return "no step has started; is the workflow controller running?"


def _line(step: Step, steps: list[str]) -> str:
    seconds = f"  {step.seconds:.0f} s" if step.state in TERMINAL and step.seconds else ""
    return f"[{steps.index(step.name) + 1}/{len(steps)}] {step.name:<18} {step.state.lower()}{seconds}"


def _seconds(task: Any) -> float:
    if not task.start_time or not task.end_time:
        return 0.0
    return max(0.0, (task.end_time - task.start_time).total_seconds())


def _message(status: Any) -> str:
    return str(status.message or "") if status else ""


def _error(task: Any) -> str:
    """Return the last lines of what is known about a failure."""
    texts = list(_errors(task)) if str(task.state) in (FAILED, "ERROR") else []
    lines = [line for text in texts for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-5:])


def _errors(task: Any) -> Iterator[str]:
    for status in [*(entry.error for entry in task.state_history or ()), task.error]:
        if _message(status):
            yield _message(status)


def _waiting(task: Any) -> str:
    """Return why a pod is not scheduled, when the server passes that on."""
    if str(task.state) in TERMINAL:
        return ""
    text = " ".join(_errors(task))
    return (
        text if any(word in text for word in ("nodes are available", "Unschedulable", "ImagePull", "Pending")) else ""
    )
