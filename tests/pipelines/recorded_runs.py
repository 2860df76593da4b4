"""Directories of runs as they are left, with any text in every place that a text can get to."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from kfp_textclf.components.common.classification import confusion_matrix, quality
from kfp_textclf.components.common.significance import compare

LABELS = ["fare", "flight", "meal"]
ROWS = 60


def answers(wrong: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the truth of the held-out rows, and answers of which the first ``wrong`` are the next class."""
    truth = np.arange(ROWS) % len(LABELS)
    predicted = truth.copy()
    predicted[:wrong] = (truth[:wrong] + 1) % len(LABELS)
    return truth, predicted


def metrics(wrong: int = 3, champion_wrong: int | None = 12, text: str = "show me flights to bo") -> dict[str, Any]:
    """Return the ``metrics.json`` of a run whose model errs on some rows, beside a champion that errs on others."""
    truth, predicted = answers(wrong)
    labels = [f"{text} {label}" for label in LABELS]
    matrix = confusion_matrix(truth, predicted, len(labels))
    figures = {**quality(matrix), "size_bytes": 23e6, "latency_ms_p50": 2.0, "latency_ms_p99": 5.0}
    figures["rows_per_second"] = 500.0
    figures |= dict.fromkeys(("temperature", "uncalibrated_ece", "ece", "brier", "nll"), 0.5)
    bins = [{"rows": 20, "confidence": 0.5, "accuracy": 0.6}, {"rows": 40, "confidence": 0.9, "accuracy": 0.95}]
    point = {"threshold": 0.5, "coverage": 1.0, "accuracy": 0.9}
    mistakes = [
        {"text": f"{text} {row}", "label": labels[truth[row]], "predicted": labels[predicted[row]], "probability": 0.9}
        for row in range(wrong)
    ]
    champion = None
    if champion_wrong is not None:
        _, earlier = answers(champion_wrong)
        comparison = compare(truth, earlier, predicted)
        champion = {
            "version": "0123456789abcdef",
            "uri": f"s3://models/{text}",
            **quality(confusion_matrix(truth, earlier, len(labels))),
            "labels": labels,
            "confusion_matrix": confusion_matrix(truth, earlier, len(labels)).tolist(),
            "comparison": json.loads(json.dumps(comparison, default=vars)),
        }
        for row, mistake in enumerate(mistakes):
            mistake["champion"] = labels[earlier[row]]
    return {
        "state": "SUCCEEDED",
        "rows": ROWS,
        "shipped": "onnx_int8",
        "labels": labels,
        "variants": {name: dict(figures) for name in ("torch", "onnx", "onnx_int8")},
        "baselines": {text: {**quality(matrix)}},
        "champion": champion,
        "verdict": "promote",
        "reason": f"int8 MCC is not below the floor {text}",
        "confusion_matrix": matrix.tolist(),
        "mistakes": mistakes,
        "reliability": {"calibrated": bins, "uncalibrated": bins},
        "reject_option": {"curve": [point, point], "targets": [{"target": 0.9, **point}, {"target": 0.99}]},
        "roc": {"false_positive": [0.0, 0.1, 1.0], "true_positive": [0.0, 0.9, 1.0]},
        "precision_recall": {"precision": [0.5, 1.0], "recall": [1.0, 0.0]},
        "latency_ms": {name: [1.0, 2.0, 9.0] for name in ("torch", "onnx", "onnx_int8")},
        "dataset": {
            "name": text,
            "git_rev": text,
            "files": {text: {"md5": text}},
            "rows": {"train": 100, "test": ROWS},
        },
        "data_changes": {
            "champion": text,
            "missing": [],
            "dataset": {
                "before": {"git_rev": text, "files": {text: {"md5": "0" * 32}}},
                "now": {"git_rev": text, "files": {text: {"md5": "1" * 32}}},
            },
            "rows": {"train": [90, 100], "test": [ROWS, ROWS]},
            "classes": [{"label": label, "before": 30, "now": 40} for label in labels],
            "texts": {"new": 10, "removed": 0, "relabelled": 1, "common": 90, "exact": True},
            "examples": {"new": [text], "relabelled": [text]},
        },
        "training": {
            "log": [{"epoch": e, "eval_loss": 1 / e, "eval_matthews_correlation": 1 - 1 / e} for e in (1, 2, 3)]
        },
        "published": {"version": text, "uri": f"s3://models/{text}", "previous": ""},
        "tracking": {text: {"url": f"page {text}"}},
        "arguments": {"base_model": text, "epochs": 3, text: text},
        "steps": [
            {"name": text, "seconds": 0.0, "cached": True},
            {"name": "train-classifier", "seconds": 12.3, "cached": False, "cost": 0.1, "energy_wh": 2.0},
        ],
    }


def write_run(directory: Path, content: object, logs: dict[str, str] | None = None, wrong: int = 3) -> Path:
    """Write the directory of a run."""
    (directory / "logs").mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    for name, log in (logs or {}).items():
        (directory / "logs" / name).write_text(log, encoding="utf-8")
    rows = ["text_hash,actual,predicted,probability"]
    for row, (true, predicted) in enumerate(zip(*answers(wrong), strict=True)):
        text_hash = hashlib.sha256(str(row).encode()).hexdigest()[:16]
        rows.append(f"{text_hash},{LABELS[true]},{LABELS[predicted]},0.9")
    (directory / "predictions.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return directory
