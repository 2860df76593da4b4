"""Judge every variant of a model on the held-out rows."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.classification import confusion_matrix, per_class, quality
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import local_path
from kfp_textclf.components.common.report import render_html, render_markdown
from kfp_textclf.components.common.scoring import OnnxClassifier, Scored, onnx_file, score
from kfp_textclf.components.evaluate.baselines import majority, tfidf_svm
from kfp_textclf.components.evaluate.evaluation_report import evaluation_blocks, mistakes, size_and_speed
from kfp_textclf.components.evaluate.gate import GateSettings, judge


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        verdict: ``promote`` or ``reject``.
        reason: Why.
        labels: Class names, in the order of the confusion matrix.
        confusion_matrix: Counts of the int8 model, shape (classes, classes), true by predicted.
        roc: Micro-averaged ROC of the int8 model: false positive rates, true positive rates, thresholds.
        variants: Quality, size and speed of ``torch``, ``onnx`` and ``onnx_int8``.
    """

    verdict: str
    reason: str
    labels: list[str]
    confusion_matrix: list[list[int]]
    roc: tuple[list[float], list[float], list[float]]
    variants: dict[str, dict[str, float]]
    report_html: str = field(repr=False)
    report_markdown: str = field(repr=False)


@dataclass(frozen=True)
class _Rows:
    texts: list[str]
    labels: list[str]


def evaluate(
    dataset: str,
    onnx: str,
    onnx_int8: str,
    output: str,
    *,
    champion_uri: str = "",
    settings: GateSettings | None = None,
) -> Evaluation:
    """Score every variant, the baselines and the champion on the held-out rows, and decide.

    Args:
        dataset: Directory of the prepared data set.
        onnx: Directory of the fp32 model, with torch's reference answers.
        onnx_int8: Directory of the int8 model.
        output: Directory to write: ``metrics.json``, ``predictions.csv`` and drawings.
        champion_uri: ``file://`` URI of the published version to compare with; empty for none.
        settings: Thresholds of the decision.

    Raises:
        UserError: An input is unusable.
    """
    data = verified(dataset)
    labels = read_json(data / "labels.json")
    test = _read(data, ["test"])
    truth = _indices(test.labels, labels)
    reference = read_json(verified(onnx) / "reference.json")
    scored = {"onnx": _scored(Path(onnx), labels, test), "onnx_int8": _scored(verified(onnx_int8), labels, test)}
    matrices = {
        "torch": confusion_matrix(truth, np.asarray(reference.pop("predicted")), len(labels)),
        **{name: confusion_matrix(truth, s.probabilities.argmax(axis=1), len(labels)) for name, s in scored.items()},
    }
    costs = {
        "torch": reference,
        **{
            name: {"size_bytes": onnx_file(Path(path)).stat().st_size, **scored[name].speed}
            for name, path in (("onnx", onnx), ("onnx_int8", onnx_int8))
        },
    }
    variants = {name: {**quality(matrix), **costs[name]} for name, matrix in matrices.items()}
    baselines = _baselines(_read(data, ["train", "validation"]), test, labels)
    champion = _champion(champion_uri, labels, test) if champion_uri else None
    decision = judge(variants, baselines, champion, settings or GateSettings())
    probabilities = scored["onnx_int8"].probabilities
    content = {
        "rows": len(truth),
        "labels": labels,
        "variants": variants,
        "baselines": baselines,
        "champion": champion,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "confusion_matrix": matrices["onnx_int8"].tolist(),
        "per_class": {s.label: vars(s) for s in per_class(matrices["onnx_int8"], labels)},
        "mistakes": mistakes(test.texts, truth, probabilities, labels),
    }
    with atomic_directory(output, "evaluate_model") as directory:
        write_json(directory / "metrics.json", content)
        _write_predictions(directory / "predictions.csv", test.labels, probabilities, labels)
        plots.save_png(plots.matrix(labels, content["confusion_matrix"]), directory / "confusion_matrix.png")
        plots.save_png(size_and_speed(variants), directory / "variants.png")
    title, subtitle = "Evaluation", f"{len(truth):,} held-out texts, {len(labels)} classes"
    blocks = evaluation_blocks(content)
    return Evaluation(
        verdict=decision.verdict,
        reason=decision.reason,
        labels=labels,
        confusion_matrix=content["confusion_matrix"],
        roc=_micro_roc(truth, probabilities),
        variants=variants,
        report_html=render_html(title, subtitle, blocks),
        report_markdown=render_markdown(title, subtitle, blocks),
    )


def _read(data: Path, splits: Sequence[str]) -> _Rows:
    import pyarrow.parquet as pq

    tables = [pq.read_table(data / f"{split}.parquet", columns=["text", "label"]) for split in splits]
    columns = {name: [value for table in tables for value in table[name].to_pylist()] for name in ("text", "label")}
    return _Rows(columns["text"], columns["label"])


def _indices(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[name] for name in names])


def _scored(directory: Path, labels: list[str], test: _Rows) -> Scored:
    classifier = OnnxClassifier(directory)
    if classifier.labels != labels:
        raise UserError(
            f"{directory}: knows other labels than the data set; evaluate a model with the data it was trained on"
        )
    return score(classifier, test.texts)


def _write_predictions(
    path: Path, truth: Sequence[str], probabilities: NDArray[np.float32], labels: Sequence[str]
) -> None:
    """Write the int8 model's answer for each held-out row, in the order of the data set."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("actual", "predicted", "probability"))
        for label, row in zip(truth, probabilities, strict=True):
            writer.writerow((label, labels[int(row.argmax())], f"{row.max():.6f}"))


def _baselines(train: _Rows, test: _Rows, labels: list[str]) -> dict[str, dict[str, float]]:
    """Return the quality of the cheap classifiers; with no choices to make, they learn from validation rows too."""
    answers = {
        "majority": majority(train.labels, len(test.texts)),
        "tfidf_svm": tfidf_svm(train.texts, train.labels, test.texts),
    }
    truth = _indices(test.labels, labels)
    return {
        name: quality(confusion_matrix(truth, _indices(predicted, labels), len(labels)))
        for name, predicted in answers.items()
    }


def _champion(uri: str, labels: list[str], test: _Rows) -> dict[str, Any]:
    """Return the champion's quality on the same rows; a label that one side does not know is a class of its own."""
    directory = verified(local_path(uri, "champion_uri"))
    classifier = OnnxClassifier(directory)
    every = sorted({*labels, *classifier.labels})
    predicted = [classifier.labels[row] for row in classifier.probabilities(test.texts).argmax(axis=1)]
    matrix = confusion_matrix(_indices(test.labels, every), _indices(predicted, every), len(every))
    return {"version": directory.name, "uri": uri, **quality(matrix)}


def _micro_roc(
    truth: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[list[float], list[float], list[float]]:
    """Return the ROC over all (row, class) decisions; the first threshold is 1 where scikit-learn says infinity."""
    from sklearn.metrics import roc_curve

    decisions = np.arange(probabilities.shape[1]) == truth[:, None]
    false_positive, true_positive, thresholds = roc_curve(decisions.ravel(), probabilities.ravel())
    keep = np.unique(np.linspace(0, len(thresholds) - 1, 100).astype(int))  # a dashboard draws no more
    rates = (false_positive[keep], true_positive[keep], np.minimum(thresholds[keep], 1.0))
    return tuple(values.astype(float).tolist() for values in rates)  # type: ignore[return-value]
