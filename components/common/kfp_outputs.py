"""Writing small KFP outputs from inside a component. Works on KFP's artifact objects without importing kfp."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_metrics(artifact: Any, values: Mapping[str, float]) -> None:
    """Log metrics, and write them to the artifact's file too, without which KFP's local cache never hits.

    Args:
        artifact: A ``Metrics`` output.
        values: Finite figures by name.

    Raises:
        ValueError: A figure is NaN or infinite.
    """
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"metric {name} is {value}")
        artifact.log_metric(name, value)
    write_text(artifact, json.dumps(dict(values), indent=2))


def write_text(artifact: Any, text: str) -> None:
    """Write the single file of an ``HTML``, ``Markdown``, ``Metrics`` or ``ClassificationMetrics`` output."""
    path = Path(artifact.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_classification(
    artifact: Any, labels: list[str], matrix: list[list[int]], roc: tuple[list[float], list[float], list[float]]
) -> None:
    """Log a confusion matrix and a ROC curve.

    Args:
        artifact: A ``ClassificationMetrics`` output.
        labels: Class names.
        matrix: Counts, true by predicted, shape (classes, classes).
        roc: False positive rates, true positive rates and finite thresholds, equally long.
    """
    artifact.log_confusion_matrix(labels, matrix)
    artifact.log_roc_curve(*roc)
    write_text(artifact, json.dumps({"labels": labels, "confusion_matrix": matrix, "roc": roc}))
