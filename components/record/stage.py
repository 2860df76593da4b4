"""Keep the result of a run where those who submitted it find it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.data_profile import PROFILE
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import open_store

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"


def record(
    evaluation: str,
    model: str,
    comparison: str,
    report: str,
    summary: str,
    *,
    publish_to: str,
    run_id: str,
    tracking: Mapping[str, str] | None = None,
) -> str:
    """Copy an evaluation's results to ``runs/<run_id>/`` of a store.

    ``metrics.json`` goes last, with what the data were, how they differ from the champion's, and the training's log.

    Args:
        evaluation: Directory of an evaluation.
        model: Directory of the model that was trained.
        comparison: Directory of the comparison with the champion's data.
        report: Its page.
        summary: Its Markdown.
        publish_to: ``file://`` or ``s3://`` URI of the model store.
        run_id: The run's id.
        tracking: Where the training was tracked, see `components.common.tracking`.

    Returns:
        URI of ``metrics.json``.

    Raises:
        UserError: An input is damaged, or the store cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", run_id):
        raise UserError(f"run_id={run_id!r}: is not an id of letters, digits, points and dashes")
    source = verified(evaluation)
    content = read_json(source / METRICS)
    if (source / PROFILE).is_file():
        content["dataset"] = _dataset(read_json(source / PROFILE))
    content["data_changes"] = read_json(verified(comparison) / "comparison.json")
    content["training"] = read_json(verified(model) / "training.json")
    content["tracking"] = {"train": dict(tracking or {}), **content.get("tracking", {})}
    store = open_store(publish_to, "publish_to")
    files = {PREDICTIONS: source / PREDICTIONS, "report.html": Path(report), "report.md": Path(summary)}
    for name, file in files.items():
        store.upload(file, f"runs/{run_id}/{name}")
    store.write(f"runs/{run_id}/{METRICS}", json.dumps(content, indent=2, ensure_ascii=False).encode())
    return store.uri_of(f"runs/{run_id}/{METRICS}")


def _dataset(profile: dict[str, Any]) -> dict[str, Any]:
    """Return what the data were, as ``metrics.json`` of a local run says it."""
    return {**profile["dataset"], "rows": profile["rows"], "classes": len(profile["class_counts"]["train"])}
