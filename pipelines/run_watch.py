"""Following a run on a cluster to its end."""

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.cluster import Cluster
from kfp_textclf.pipelines.run_pods import Pods

PENDING, RUNNING = "PENDING", "RUNNING"
SUCCEEDED, FAILED, CANCELING, CANCELED, SKIPPED = "SUCCEEDED", "FAILED", "CANCELING", "CANCELED", "SKIPPED"
TERMINAL = (SUCCEEDED, FAILED, CANCELED, SKIPPED)
STRONGEST = (RUNNING, PENDING, FAILED, CANCELING, CANCELED, SUCCEEDED, SKIPPED)  # of the states of a loop's iterations
POD, DRIVER, ROOT = re.compile(r"executor\(\d+\)"), "-driver", "root"  # what Argo's nodes beside the steps are called
LOST_AFTER = 10  # questions without an answer
PATIENCE = 12  # questions for which a pod may wait before it is said
LAGGING = 3  # further questions for the steps' states after the run's own


class Unfollowed(Exception):
    """The run goes on as far as is known, and is not followed any longer; the message says why."""


@dataclass(frozen=True)
class Step:
    """A step of the pipeline as the server sees it.

    Attributes:
        name: The task's name.
        state: Such as ``RUNNING``; of a step in a loop, that of the iteration that matters most.
        seconds: How long it took, all iterations together.
        error: Why it failed.
    """

    name: str
    state: str
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class RunStatus:
    """A run as the server sees it.

    Attributes:
        state: Of the run.
        error: Why it failed, where no step did.
        steps: Those that the server knows of, in the order of the pipeline.
        running: Whether a pod of a step runs.
    """

    state: str
    error: str = ""
    steps: list[Step] = field(default_factory=list)
    running: bool = False

    @property
    def failed_step(self) -> Step | None:
        """The step that failed first, if one did."""
        return next((step for step in self.steps if step.state == FAILED), None)

    @property
    def unfinished(self) -> list[str]:
        """The steps that have begun and not ended."""
        return [step.name for step in self.steps if step.state not in TERMINAL]


def status_of(run: Any, steps: list[str]) -> RunStatus:
    """Read a run of the API.

    Args:
        run: ``V2beta1Run``. Its task details are Argo's nodes: the steps, a driver for each, and their pods, which are
            called executor; one that Argo left out has no state. No node says why it failed or waits.
        steps: Names of the pipeline's tasks.
    """
    tasks = list(run.run_details.task_details or ()) if run.run_details else []
    state = str(run.state or PENDING)
    found = {name: _step(name, tasks, over=state in TERMINAL) for name in steps}
    failed = [str(task.display_name) for task in tasks if str(task.state) == FAILED]
    failed = [name for name in failed if not POD.match(name)]
    failed.sort(key=lambda name: (not name.endswith(DRIVER), name == ROOT))  # what failed with it says less
    pods = [str(task.state) for task in tasks if POD.match(str(task.display_name))]
    known = [step for step in found.values() if step]
    running = RUNNING in pods or (not pods and any(step.state == RUNNING for step in known))
    return RunStatus(state, _message(run.error) or (f"{failed[0]} failed" if failed else ""), known, running)


def _step(name: str, tasks: Iterable[Any], over: bool) -> Step | None:
    own = [task for task in tasks if task.display_name == name]
    driver = [task for task in tasks if task.display_name == name + DRIVER and str(task.state) == FAILED]
    if driver:
        return Step(name, FAILED, 0.0, _error(driver) or "what prepares its pod failed; see its driver's log")
    if not own:
        return None
    states = [str(task.state) if task.state else (SKIPPED if over else PENDING) for task in own]
    state = next((known for known in STRONGEST if known in states), states[0])
    return Step(name, state, sum(map(_seconds, own)), _error(own) if state == FAILED else "")


def follow(
    cluster: Cluster,
    run_id: str,
    steps: list[str],
    say: Callable[[str], None],
    keep: Callable[[RunStatus], None],
    timeout: float,
    poll: float,
) -> RunStatus:
    """Wait for a run to end, and say whenever a step's state changes, and what keeps it waiting.

    Args:
        cluster: The server.
        run_id: The run.
        steps: Names of the pipeline's tasks.
        say: Takes a line at a time.
        keep: Takes what is known whenever it has changed, so that it outlasts whatever ends this.
        timeout: Seconds to wait; 0 for ever.
        poll: Seconds between questions.

    Raises:
        Unfollowed: The run has not ended in time, or the server refuses or does not answer for a long time.
    """
    watch = _Watch(cluster, run_id, steps, say, keep)
    started = time.monotonic()
    while not watch.ended:
        watch.ask()
        if not watch.ended:
            if timeout and time.monotonic() - started > timeout:
                raise Unfollowed(f"has not ended after {timeout / 60:g} min: {watch.why_waiting()}")
            time.sleep(poll)
    return watch.explained(poll)


class _Watch:
    """What has been seen and said of a run."""

    def __init__(
        self,
        cluster: Cluster,
        run_id: str,
        steps: list[str],
        say: Callable[[str], None],
        keep: Callable[[RunStatus], None],
    ) -> None:
        self.status = RunStatus(PENDING)
        self._cluster, self._run_id, self._steps, self._say, self._keep = cluster, run_id, steps, say, keep
        self._pods = Pods(cluster.connection, run_id)
        self._shown: dict[str, str] = {}
        self._lost = self._idle = 0
        self._canceling = False

    @property
    def ended(self) -> bool:
        return self.status.state in TERMINAL

    def ask(self) -> None:
        """Ask once, and say what is new."""
        try:
            run = self._cluster.call(self._cluster.client.get_run, self._run_id)
            self._cluster.identified(run.run_id)
        except UserError as error:  # a login that ended, too, may be renewed, and a proxy recover
            self._lost += 1
            if self._lost > LOST_AFTER:
                raise Unfollowed(f"cannot be followed: {error}") from error
            if self._lost == 1:
                self._say(f"{error} (asking again)")
            return
        status = status_of(run, self._steps)
        self._lost = 0
        self._canceling |= status.state == CANCELING
        if status.state == FAILED and self._canceling:  # Argo knows no other end of a run that was stopped
            status = replace(status, state=CANCELED)
        if status != self.status:
            self._keep(status)
        self.status = status
        for step in status.steps:
            if self._shown.get(step.name) != step.state:
                self._shown[step.name] = step.state
                self._say(self._line(step))
        self._idle = 0 if status.running or self.ended else self._idle + 1
        if self._idle == PATIENCE:
            self._say(self.why_waiting())

    def why_waiting(self) -> str:
        """Return what the run waits for, as far as that is known."""
        unfinished = self.status.unfinished
        if self.status.running:
            return f"{', '.join(unfinished)}: running"
        for step, reason in self._pods.waiting().items():
            return f"{step}: its pod waits: {reason}"
        if not unfinished:
            return f"no step has started; is the workflow controller running? {self._pods.command}"
        return (
            f"{', '.join(unfinished)}: its pod does not run yet; no GPU is free, no node has the labels of "
            f"cluster.node_selector, or its image is still being pulled: {self._pods.command}"
        )

    def explained(self, poll: float) -> RunStatus:
        """Return the status once the steps' states, which lag behind, have followed, with what a failed one printed."""
        for _ in range(LAGGING):
            if not self.status.unfinished and (self.status.failed_step or self.status.state != FAILED):
                break
            time.sleep(poll)
            with contextlib.suppress(Unfollowed):
                self.ask()
        step = self.status.failed_step
        if not step or step.error:
            return self.status
        error = self._pods.last_lines(step.name)
        steps = [replace(known, error=error) if known is step else known for known in self.status.steps]
        return replace(self.status, steps=steps)

    def _line(self, step: Step) -> str:
        seconds = f"  {step.seconds:.0f} s" if step.state in TERMINAL and step.seconds else ""
        place = f"[{self._steps.index(step.name) + 1}/{len(self._steps)}]"
        return f"{place} {step.name:<18} {step.state.lower()}{seconds}"


def _seconds(task: Any) -> float:
    if not task.start_time or not task.end_time:
        return 0.0
    return max(0.0, (task.end_time - task.start_time).total_seconds())


def _message(status: Any) -> str:
    return str(status.message or "") if status else ""


def _error(tasks: Iterable[Any]) -> str:
    """Return the last lines of what the server says about a failure."""
    lines = [line for task in tasks for text in _errors(task) for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-5:])


def _errors(task: Any) -> Iterator[str]:
    for status in [*(entry.error for entry in task.state_history or ()), task.error]:
        if _message(status):
            yield _message(status)
