"""Measuring classifiers on the held-out rows: the variants of a model, cheap baselines, the champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.classification import confusion_matrix, quality
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.published import open_version, version_uri
from kfp_textclf.components.common.scoring import OnnxClassifier, onnx_file, read_temperature, score
from kfp_textclf.components.common.significance import Comparison, compare
from kfp_textclf.components.evaluate.baselines import majority, tfidf_svm
from kfp_textclf.components.evaluate.confidence import calibration_figures


@dataclass(frozen=True)
class Rows:
    """Texts and their labels."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Answers:
    """What one variant answered on the held-out rows.

    Attributes:
        logits: Shape (rows, classes).
        probabilities: The same shape, calibrated.
        confusion_matrix: True by predicted, shape (classes, classes).
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    confusion_matrix: NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """What the variants of a model answered on the held-out rows.

    Attributes:
        truth: True class of each row, shape (rows,).
        answers: Of each variant that may be published, by its name.
        variants: Quality, size and speed of ``torch``, ``onnx`` and these.
        latency_ms: Every 5th percentile of the time of one text, by variant.
    """

    truth: NDArray[np.int64]
    answers: dict[str, Answers]
    variants: dict[str, dict[str, float]]
    latency_ms: dict[str, list[float]]

    def by_preference(self, prefer: str) -> list[str]:
        """Return the names of the variants that may be published, the ``smallest`` or the ``fastest`` first."""
        figure, sign = {"smallest": ("size_bytes", 1), "fastest": ("rows_per_second", -1)}[prefer]
        return sorted(self.answers, key=lambda name: sign * self.variants[name][figure])


@dataclass(frozen=True)
class MeasuredChampion:
    """What the champion answered on the held-out rows.

    Attributes:
        truth: True label of each row.
        answers: Its label of each row.
        figures: Version, URI, quality, and the confusion matrix with its labels.
    """

    truth: list[str]
    answers: list[str]
    figures: dict[str, Any]

    def compared_with(self, challenger: list[str]) -> Comparison:
        """Compare it, the first model, with another one, the second, by the label that this gives each row."""
        return compare(*(_indices(names, self.figures["labels"]) for names in (self.truth, self.answers, challenger)))


def read_rows(data: Path, splits: Sequence[str]) -> Rows:
    """Return the rows of some splits of a prepared data set."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(data / f"{split}.parquet", columns=["text", "label"]) for split in splits]
    columns = {name: [value for table in tables for value in table[name].to_pylist()] for name in ("text", "label")}
    return Rows(columns["text"], columns["label"])


def measure_variants(onnx: Path, onnx_int8: Path, labels: list[str], test: Rows) -> Measured:
    """Score the ONNX variants, and take torch's answers from the reference that the export left.

    Torch's logits are those of the fp32 model within the parity that the export checks, so its temperature is that
    model's.

    Raises:
        UserError: A model knows other labels than the data set.
    """
    truth = _indices(test.labels, labels)
    reference = read_json(onnx / "reference.json")
    latency_ms = {"torch": reference.pop("latency_ms")}
    matrix = confusion_matrix(truth, np.asarray(reference.pop("predicted")), len(labels))
    calibrated = calibration_figures(np.load(onnx / "reference_logits.npy"), truth, read_temperature(onnx))
    variants = {"torch": {**quality(matrix), **calibrated, **reference}}
    encoded = {}
    answers = {}
    further = {f"onnx_{path.name}": path for path in sorted(onnx_int8.iterdir()) if path.is_dir()}
    for name, directory in {"onnx": onnx, "onnx_int8": onnx_int8, **further}.items():
        classifier = OnnxClassifier(directory)
        if classifier.labels != labels:
            raise UserError(
                f"{directory}: knows other labels than the data set; evaluate a model with the data it was trained on"
            )
        scored = score(classifier, test.texts, known=encoded)
        matrix = confusion_matrix(truth, scored.probabilities.argmax(axis=1), len(labels))
        size = onnx_file(directory).stat().st_size
        calibrated = calibration_figures(scored.logits, truth, classifier.temperature)
        variants[name] = {**quality(matrix), **calibrated, "size_bytes": size, **scored.speed}
        latency_ms[name] = scored.latency_ms
        if name != "onnx":
            answers[name] = Answers(scored.logits, scored.probabilities, matrix)
    return Measured(truth, answers, variants, latency_ms)


def measure_baselines(train: Rows, test: Rows, labels: list[str]) -> dict[str, dict[str, float]]:
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


def measure_champion(uri: str, labels: list[str], test: Rows) -> MeasuredChampion:
    """Score the champion on the same rows; a label that one side does not know is a class of its own.

    Args:
        uri: The published version.
        labels: Class names of the data set.
        test: The held-out rows.
    """
    uri = version_uri(uri, "champion_uri")
    directory = open_version(uri, "champion_uri")
    classifier = OnnxClassifier(directory)
    every = sorted({*labels, *classifier.labels})
    answers = [classifier.labels[row] for row in classifier.probabilities(test.texts).argmax(axis=1)]
    matrix = confusion_matrix(_indices(test.labels, every), _indices(answers, every), len(every))
    figures = {
        "version": directory.name,
        "uri": uri,
        **quality(matrix),
        "labels": every,
        "confusion_matrix": matrix.tolist(),
    }
    return MeasuredChampion(test.labels, answers, figures)


def _indices(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[name] for name in names])
