"""The variants of a model as files: each small, calibrated, and compared with fp32."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier
from kfp_textclf.components.export.calibration import fit_temperature
from kfp_textclf.components.export.quantisation import VARIANTS, check_size

if TYPE_CHECKING:
    import onnx

MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Rows:
    """Texts and their labels."""

    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class Variant:
    """A model file that was written.

    Attributes:
        size_bytes: Its size.
        temperature: What calibration divides its logits by.
        logits: Its answers on the validation rows, shape (rows, classes).
    """

    size_bytes: int
    temperature: float
    logits: NDArray[np.float32]

    def agreement(self, other: "Variant") -> float:
        """Return the share of the validation rows on which both give the same label."""
        return float((self.logits.argmax(axis=1) == other.logits.argmax(axis=1)).mean())


def file_name(variant: str) -> str:
    """Return the name of a variant's file."""
    return "model.onnx" if variant == "fp32" else f"model.{variant}.onnx"


def check_variants(names: Sequence[str]) -> None:
    """Refuse names of variants that are unknown or do not hold int8 (``UserError``)."""
    if unknown := [name for name in names if name not in VARIANTS]:
        raise UserError(f"variants: {unknown[0]!r} is unknown; known are {', '.join(VARIANTS)}")
    if "int8" not in names or len(set(names)) < len(names):
        raise UserError(f"variants={list(names)}: must hold int8, and each name once")


def write_variant(
    name: str,
    graph: "onnx.ModelProto",
    directory: Path,
    source: Path,
    rows: Rows,
    fp32: "onnx.ModelProto | None" = None,
) -> Variant:
    """Write a graph, the files it is served with, and its calibration.

    Args:
        name: One of `VARIANTS`.
        graph: The variant's graph, compact.
        directory: Where to write.
        source: Directory of the fine-tuned model.
        rows: The validation rows.
        fp32: The fp32 graph, compact, for a variant that must be as small as its kind can be.

    Raises:
        UserError: The model does not know a label of the rows, or answers some of them with no numbers.
        RuntimeError: The file is larger than such a variant can be.
    """
    directory.mkdir(exist_ok=True)
    size = write_model(graph, directory / file_name(name), source)
    if fp32:
        check_size(name, size, fp32)
    classifier = OnnxClassifier(directory)
    logits = classifier.text_logits(rows.texts)
    if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
        fix = "train the model again" if name in ("fp32", "int8") else f"leave {name} out of variants"
        raise UserError(
            f"{name}: its logits of {broken} of {len(logits)} validation texts are no finite numbers; {fix}"
        )
    calibration = fit_temperature(logits, _classes(rows.labels, classifier.labels))
    calibration.write(directory)
    return Variant(size, calibration.temperature, logits)


def write_model(graph: "onnx.ModelProto", file: Path, source: Path) -> int:
    """Write a graph that is valid, and the files it is served with; return its size in bytes.

    Args:
        graph: The graph.
        file: The file to write.
        source: Directory of the fine-tuned model.
    """
    import onnx

    onnx.checker.check_model(graph)
    onnx.save(graph, file)
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, file.parent / name)
    return file.stat().st_size


def _classes(names: Sequence[str], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the class of each label, shape (rows,)."""
    index = {label: number for number, label in enumerate(labels)}
    if unknown := sorted(set(names) - set(index)):
        raise UserError(f"the model knows no label {unknown[0]!r}; export a model with the data it learned from")
    return np.array([index[name] for name in names], dtype=np.int64)
