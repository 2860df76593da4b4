"""Reading what wandb wrote offline, by its own protobuf messages."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfp_textclf.pipelines.wandb_runs import _records


def offline_directories(root: Path) -> list[Path]:
    """Return the offline runs below a directory."""
    return sorted(log.parent for log in root.rglob("offline-run-*/run-*.wandb"))


def read_log(directory: Path) -> SimpleNamespace:
    """Return name, group, config, history, summary, artifacts and exit code of a run directory."""
    from wandb.proto import wandb_internal_pb2 as messages

    (log,) = directory.glob("run-*.wandb")
    read = SimpleNamespace(name="", group="", job="", config={}, history=[], summary={}, artifacts=[], exit_code=None)
    for content in _records(log.read_bytes()):
        record = messages.Record.FromString(content)  # type: ignore[attr-defined]
        if record.HasField("run"):
            read.name, read.group, read.job = record.run.display_name, record.run.run_group, record.run.job_type
            read.config.update({item.key: json.loads(item.value_json) for item in record.run.config.update})
        if record.HasField("history"):
            read.history.append(_values(record.history.item))
        read.summary.update(_values(record.summary.update))
        if record.HasField("artifact"):
            read.artifacts.append(_artifact(record.artifact))
        if record.HasField("exit"):
            read.exit_code = record.exit.exit_code
    return read


def _artifact(artifact: Any) -> dict[str, Any]:
    return {
        "name": artifact.name,
        "type": artifact.type,
        "aliases": list(artifact.aliases),
        "references": [entry.ref for entry in artifact.manifest.contents],
        "metadata": json.loads(artifact.metadata or "{}"),
    }


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
