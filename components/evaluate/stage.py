"""Judge every variant of a model on the held-out rows."""

import csv
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.classification import per_class
from kfp_textclf.components.common.report import render_html, render_markdown
from kfp_textclf.components.common.scoring import softmax
from kfp_textclf.components.common.significance import Comparison
from kfp_textclf.components.common.tracking import track
from kfp_textclf.components.common.tracking_environment import dataset_pin
from kfp_textclf.components.evaluate.confidence import reject_option, reliability
from kfp_textclf.components.evaluate.confidence_report import confidence_figure
from kfp_textclf.components.evaluate.curves import micro_precision_recall, micro_roc
from kfp_textclf.components.evaluate.evaluation_report import evaluation_blocks, mistakes, size_and_speed
from kfp_textclf.components.evaluate.gate import METRIC, GateSettings, Verdict, judge
from kfp_textclf.components.evaluate.measuring import (
    Answers,
    Measured,
    MeasuredChampion,
    Rows,
    measure_baselines,
    measure_champion,
    measure_variants,
    read_rows,
)

PROFILE_FILES = ("profile.json", "fingerprints.parquet")  # of the data set; kept with a model that is published


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        verdict: ``promote`` or ``reject``.
        reason: Why.
        labels: Class names, in the order of the confusion matrix.
        shipped: The variant that was judged: the first, by preference, that may be published, or the last.
        confusion_matrix: Counts of that variant, shape (classes, classes), true by predicted.
        roc: Its micro-averaged ROC: false positive rates, true positive rates, thresholds.
        variants: Quality, size and speed of ``torch``, ``onnx``, ``onnx_int8`` and further variants.
        tracking: Where it was tracked, see `components.common.tracking`.
    """

    verdict: str
    reason: str
    labels: list[str]
    shipped: str
    confusion_matrix: list[list[int]]
    roc: tuple[list[float], list[float], list[float]]
    variants: dict[str, dict[str, float]]
    tracking: dict[str, str]
    report_html: str = field(repr=False)
    report_markdown: str = field(repr=False)


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
        onnx_int8: Directory of the int8 model, and of further variants in directories of their names.
        output: Directory to write: ``metrics.json``, ``predictions.csv``, drawings, and the profile of the data set.
        champion_uri: ``file://`` or ``s3://`` URI of the version to compare with, or of a store, which means its
            champion; empty for none.
        settings: Thresholds of the decision.

    Raises:
        UserError: An input is unusable.
    """
    data = verified(dataset)
    labels = read_json(data / "labels.json")
    test = read_rows(data, ["test"])
    measured = measure_variants(verified(onnx), verified(onnx_int8), labels, test)
    baselines = measure_baselines(read_rows(data, ["train", "validation"]), test, labels)
    settings = settings or GateSettings()
    champion = measure_champion(champion_uri, labels, test) if champion_uri else None
    chosen = _choose(measured, baselines, champion, labels, settings)
    config = {**asdict(settings), "champion_uri": champion_uri, "dataset_pin": dataset_pin(data)}
    with track("evaluate", config) as tracked:
        verdict = asdict(chosen.decision)
        tracked.summary({**verdict, **measured.variants, **baselines})
    roc = micro_roc(measured.truth, chosen.probabilities)
    compared = {"comparison": asdict(chosen.comparison)} if chosen.comparison else {}
    content = {
        **verdict,
        **_figures(measured, chosen, labels),
        "roc": {"false_positive": roc[0], "true_positive": roc[1]},
        "rows": len(test.texts),
        "baselines": baselines,
        "champion": {**champion.figures, **compared} if champion else None,
        "mistakes": mistakes(
            test.texts, measured.truth, chosen.probabilities, labels, champion.answers if champion else None
        ),
        "tracking": {"evaluate": tracked.metadata()},
    }
    with atomic_directory(output, "evaluate_model") as directory:
        for name in PROFILE_FILES:
            if (data / name).is_file():
                shutil.copyfile(data / name, directory / name)
        _write_predictions(directory / "predictions.csv", test, chosen.probabilities, labels)
        _write_figures(directory, content)
    title, subtitle = "Evaluation", f"{len(test.texts):,} held-out texts, {len(labels)} classes"
    blocks = evaluation_blocks(content)
    return Evaluation(
        **verdict,
        labels=labels,
        shipped=chosen.shipped,
        confusion_matrix=content["confusion_matrix"],
        roc=roc,
        variants=measured.variants,
        tracking=tracked.metadata(),
        report_html=render_html(title, subtitle, blocks),
        report_markdown=render_markdown(title, subtitle, blocks),
    )


@dataclass(frozen=True)
class _Chosen:
    """The variant that is judged: the first that passes, or the last."""

    shipped: str
    answers: Answers
    decision: Verdict
    comparison: Comparison | None

    @property
    def probabilities(self) -> NDArray[np.float32]:
        return self.answers.probabilities


def _choose(
    measured: Measured,
    baselines: Mapping[str, Mapping[str, float]],
    champion: MeasuredChampion | None,
    labels: list[str],
    settings: GateSettings,
) -> _Chosen:
    chosen = None
    for shipped in measured.by_preference(settings.prefer):
        answers = measured.answers[shipped]
        predicted = [labels[row] for row in answers.probabilities.argmax(axis=1)]
        comparison = champion.compared_with(predicted) if champion else None
        difference = comparison.metrics[METRIC] if comparison else None
        decision = judge(measured.variants, baselines, difference, settings, shipped)
        chosen = _Chosen(shipped, answers, decision, comparison)
        if decision.verdict == "promote":
            break
    assert chosen, "int8 is always there"  # noqa: S101
    return chosen


def _figures(measured: Measured, chosen: _Chosen, labels: list[str]) -> dict[str, Any]:
    """Return what was measured of the variants, and in detail of the one that was judged."""
    truth, probabilities, matrix = measured.truth, chosen.probabilities, chosen.answers.confusion_matrix
    precision, recall = micro_precision_recall(truth, probabilities)
    return {
        "labels": labels,
        "variants": measured.variants,
        "shipped": chosen.shipped,
        "confusion_matrix": matrix.tolist(),
        "per_class": {s.label: vars(s) for s in per_class(matrix, labels)},
        "reliability": {
            "calibrated": reliability(probabilities, truth),
            "uncalibrated": reliability(softmax(chosen.answers.logits), truth),
        },
        "reject_option": reject_option(probabilities, truth),
        "precision_recall": {"precision": precision, "recall": recall},
        "latency_ms": measured.latency_ms,
    }


def _write_figures(directory: Path, content: dict[str, Any]) -> None:
    write_json(directory / "metrics.json", content)
    plots.save_png(plots.matrix(content["labels"], content["confusion_matrix"]), directory / "confusion_matrix.png")
    plots.save_png(confidence_figure(content), directory / "confidence.png")
    plots.save_png(size_and_speed(content["variants"]), directory / "variants.png")


def _write_predictions(path: Path, test: Rows, probabilities: NDArray[np.float32], labels: Sequence[str]) -> None:
    """Write the answer of the variant that was judged for each held-out row, in order; hashes in place of texts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text_hash", "actual", "predicted", "probability"))
        for text, label, row in zip(test.texts, test.labels, probabilities, strict=True):
            text_hash = hashlib.sha256(text.encode()).hexdigest()[:16]
            writer.writerow((text_hash, label, labels[int(row.argmax())], f"{row.max():.6f}"))
