"""Argo's nodes and Kubernetes' pods of the steps of a run, as the two servers show them; for `kfp_stand_in`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

ENDED = {"SUCCEEDED": "Succeeded", "FAILED": "Failed"}  # state of a step to phase of its pod
LAUNCHER = "I1126 12:00:00.000000      27 launcher_v2.go:200] publish success."
LAUNCHER_END = "F1126 12:00:01.000000      27 main.go:57] failed to execute component: exit status 1"


@dataclass(frozen=True)
class Task:
    """A step of a run at one moment.

    Attributes:
        name: Its name.
        state: As the server says it; None for one that Argo left out.
        error: What the pipeline server says of its failure, if ever it does.
        waits: Why its pod waits. The server says that the step runs and its pod is pending; Kubernetes alone says why.
        stuck: Reason of a container that waits, such as ``ImagePullBackOff``.
        log: What its pod printed.
        attempts: How many pods it has had.
        driver: State of its driver.
        seconds: How long it took.
    """

    name: str
    state: str | None
    error: str = ""
    waits: str = ""
    stuck: str = ""
    log: str = ""
    attempts: int = 1
    driver: str = "SUCCEEDED"
    seconds: float = 3.0


def nodes(tasks: list[Task]) -> list[dict[str, Any]]:
    """Return the task details of a run: for each step a driver, the step, its executor and the executor's pods."""
    details = [_node("run-abc", None), _node("root-driver", "SUCCEEDED")]
    for task in tasks:
        details.append(_node(f"{task.name}-driver", task.driver))
        error = {"error": {"code": 2, "message": task.error}} if task.error else {}
        details.append({**_node(task.name, task.state, seconds=task.seconds, children=("executor",)), **error})
        if task.state:
            pod = "PENDING" if task.waits or task.stuck else task.state
            details.append(_node("executor", "RUNNING" if pod == "PENDING" else pod))
            details += [_node(f"executor({n})", "FAILED") for n in range(task.attempts - 1)]
            details.append(_node(f"executor({task.attempts - 1})", pod))
    return details


def pod_list(tasks: list[Task]) -> dict[str, Any]:
    """Return what Kubernetes says of the pods of these steps."""
    return {"kind": "PodList", "apiVersion": "v1", "items": [_pod(task) for task in tasks if task.state]}


def log_of(pod: str, tasks: list[Task]) -> str:
    """Return what a pod printed, with what KFP's launcher adds."""
    return next(f"{LAUNCHER}\n{task.log}\n{LAUNCHER_END}\n" for task in reversed(tasks) if _pod_name(task) == pod)


def _node(name: str, state: str | None, seconds: float = 0.0, children: tuple[str, ...] = ()) -> dict[str, Any]:
    end = datetime.now(UTC)
    start = end - timedelta(seconds=seconds)
    ended = "1970-01-01T00:00:00Z" if state == "RUNNING" else end.isoformat()
    times = {"start_time": start.isoformat(), "end_time": ended}
    child_tasks = [{"pod_name": f"run-abc-{abs(hash((name, child)))}"} for child in children]
    return {"task_id": name, "display_name": name, "state": state, **times, "child_tasks": child_tasks}


def _pod_name(task: Task) -> str:
    return f"run-abc-retry-system-container-impl-{task.name}"


def _pod(task: Task) -> dict[str, Any]:
    waits = bool(task.waits or task.stuck)
    scheduled = {"type": "PodScheduled", "status": "False" if task.waits else "True", "message": task.waits or None}
    stuck = {"waiting": {"reason": task.stuck, "message": "the registry does not have it"}} if task.stuck else {}
    container = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": stuck}
    return {
        "metadata": {
            "name": _pod_name(task),
            "creationTimestamp": datetime.now(UTC).isoformat(),
            "annotations": {"workflows.argoproj.io/node-name": f"run-abc.root.{task.name}.executor(0)"},
        },
        "status": {
            "phase": "Pending" if waits else ENDED.get(task.state or "", "Running"),
            "conditions": [scheduled],
            "containerStatuses": [container],
        },
    }
