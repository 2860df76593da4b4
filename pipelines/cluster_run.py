"""A run on a cluster from its submission to its result."""

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from kfp_textclf.components.common.artifacts import write_json, write_text
from kfp_textclf.components.common.cost import Prices, usage
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.objects import NotFound
from kfp_textclf.pipelines.cluster import Cluster, Connection
from kfp_textclf.pipelines.run_record import read_record
from kfp_textclf.pipelines.run_report import run_report
from kfp_textclf.pipelines.run_watch import CANCELED, SUCCEEDED, RunStatus, Unfollowed, follow
from kfp_textclf.pipelines.submission import Submission, say, submit

DONE, RUN_FAILED, ENDED_EARLY = 0, 1, 3  # exit codes
NO_REASON = "the server does not say why; its log is in the dashboard, and --kube-context shows its end here"
FILES = ("predictions.csv", "report.html")


def run_on_cluster(
    connection: Connection, submission: Submission, runs: Path, *, wait: bool, timeout: float, poll: float
) -> int:
    """Submit, follow the run and fetch its result.

    Args:
        connection: Where the server is.
        submission: What to run.
        runs: The result goes to ``runs/<run id>/metrics.json``.
        wait: Follow the run to its end.
        timeout: Seconds to wait; 0 for ever.
        poll: Seconds between questions.

    Returns:
        Exit code: 0 succeeded (or submitted without waiting), 1 failed, 3 cancelled, or not followed to its end.

    Raises:
        UserError: The server refuses.
    """
    cluster = Cluster(connection)
    run_id = submit(cluster, submission)
    link = cluster.run_link(run_id)
    print(f"run {run_id}\n{link}", flush=True)
    directory = runs / run_id
    record = {"run_id": run_id, "link": link, "state": "PENDING", "arguments": submission.arguments}
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    write_json(directory / "metrics.json", record)
    if not wait:
        return DONE

    def keep(status: RunStatus) -> None:
        write_json(directory / "metrics.json", {**record, "state": status.state, "steps": _spent(status, submission)})

    try:
        with (directory / "logs" / "submit.log").open("a", encoding="utf-8") as log:
            status = follow(cluster, run_id, submission.package.steps, _also_to(log), keep, timeout, poll)
    except Unfollowed as error:
        say(f"error: the run goes on, and {error}; see {link}")
        return ENDED_EARLY
    except KeyboardInterrupt:
        return _interrupted(cluster, run_id, link)
    return _conclude(status, {**record, "state": status.state}, _spent(status, submission), directory, link)


def _also_to(log: TextIO) -> Callable[[str], None]:
    """Return `say` that also leaves each line in a log, for the report."""

    def say_and_keep(text: str) -> None:
        say(text)
        log.write(f"{text}\n")
        log.flush()

    return say_and_keep


def _spent(status: RunStatus, submission: Submission) -> list[dict[str, Any]]:
    """Return state, time and estimated cost of every step, a GPU known by the label of its pool."""
    prices = Prices.parse(submission.arguments.get("prices") or {})
    resources = submission.package.resources(submission.arguments)
    labels = (submission.arguments.get("node_selector") or {}).values()
    gpu = next((label for label in map(str, labels) if prices.has(label)), "")
    spent = []
    for step in status.steps:
        cores, gpus = resources[step.name]
        used = usage(step.seconds, prices, [gpu] * gpus, cores)
        spent.append({"name": step.name, "state": step.state, "seconds": step.seconds, **used})
    return spent


def _conclude(
    status: RunStatus, record: dict[str, Any], steps: list[dict[str, Any]], directory: Path, link: str
) -> int:
    step = status.failed_step
    if status.state != SUCCEEDED:
        record["failed_step"], record["error"] = (step.name, step.error) if step else ("", status.error)
    result = _result(record, directory) if status.state == SUCCEEDED else None
    write_json(directory / "metrics.json", {**(result or {}), **record, "steps": steps})
    write_text(directory / "report.md", run_report([read_record(directory)]))
    if status.state == SUCCEEDED:
        verdict = f"{result['verdict']}: {result['reason']}" if result else "the run succeeded"
        print(f"{verdict}\n{directory / 'metrics.json'}")
        return DONE
    if status.state == CANCELED:
        say(f"error: the run was cancelled; see {link}")
        return ENDED_EARLY
    lines = record["error"].splitlines() or [NO_REASON]
    for line in lines[:-1]:
        say(f"  {line}")
    say(f"error: {f'step {step.name}' if step else 'the run'} failed: {lines[-1]}; see {link}")
    return RUN_FAILED


def _result(record: dict[str, Any], directory: Path) -> dict[str, Any] | None:
    """Return what the step record_run left in the model store, and copy the files beside it.

    None when there is nothing, or it cannot be read from here.
    """
    target = record["arguments"].get("publish_to")
    if not target:
        return None
    place = f"runs/{record['run_id']}"
    try:
        models = ModelStore.open(target)
        stored = models.store.read(f"{place}/metrics.json")
        if not stored:
            return None
        result = json.loads(stored.content)
        for name in FILES:
            with contextlib.suppress(NotFound):
                models.store.download(f"{place}/{name}", directory / name)
        publishing = result["verdict"] == "promote" and record["arguments"].get("publish_promoted", True)
        champion = models.champion() if publishing else None
        published = {name: champion[name] for name in ("version", "uri", "previous")} if champion else None
        return {**result, "published": published}
    except (UserError, ValueError, KeyError, TypeError) as error:
        say(f"the result cannot be read from here ({error}); it is in the dashboard")
        return None


def _interrupted(cluster: Cluster, run_id: str, link: str) -> int:
    """Ask whether the run is to end too; without a terminal it goes on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.stdin.isatty():
        try:
            answer = input("\nterminate the run on the cluster too? [y/N] ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower().startswith("y"):
            cluster.call(cluster.client.terminate_run, run_id)
            say(f"the run is being terminated: {link}")
            return ENDED_EARLY
    say(f"\nthe run goes on: {link}")
    return ENDED_EARLY
