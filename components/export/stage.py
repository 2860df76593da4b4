"""Export a classifier to ONNX, shrink it and quantise it to int8."""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import atomic_directory, verified, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier, score
from kfp_textclf.components.export.calibration import fit_temperature
from kfp_textclf.components.export.quantisation import fold_constants, quantise_int8
from kfp_textclf.components.export.shared_weights import share_weights
from kfp_textclf.components.export.torch_export import TorchClassifier, to_onnx

if TYPE_CHECKING:
    import onnx

MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
PARITY_TEXTS = 64
MAX_DIFFERENCE = 1e-4  # of a logit, ONNX against torch; measured 1e-7 to 3e-6 over five architectures
OPSETS = range(14, 22)


@dataclass(frozen=True)
class ExportedModel:
    """What was exported.

    Attributes:
        opset: ONNX operator set.
        torch_bytes: Size of the safetensors weights.
        onnx_bytes: Size of ``model.onnx``.
        int8_bytes: Size of ``model.int8.onnx``.
        shared_weight_bytes: Bytes of repeated weights that are stored once.
        max_abs_diff: Largest difference of a logit between torch and ONNX.
        int8_agreement: Share of the validation rows on which int8 and fp32 ONNX answer the same.
        temperature: What calibration divides the logits of the fp32 model by.
        int8_temperature: The same of the int8 model.
    """

    opset: int
    torch_bytes: int
    onnx_bytes: int
    int8_bytes: int
    shared_weight_bytes: int
    max_abs_diff: float
    int8_agreement: float
    temperature: float
    int8_temperature: float

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs."""
        return {**asdict(self), "int8_ratio": self.int8_bytes / self.torch_bytes}

    def metadata(self, variant: str) -> dict[str, Any]:
        """Return the fields as metadata of the artifact of a variant, ``onnx`` or ``onnx_int8``."""
        size = self.int8_bytes if variant == "onnx_int8" else self.onnx_bytes
        return {**self.metrics(), "variant": variant, "size_bytes": size, "framework": "onnx"}


def export(model: str, dataset: str, onnx_output: str, int8_output: str, *, opset: int = 17) -> ExportedModel:
    """Export a fine-tuned model to fp32 and int8 ONNX, checked against torch.

    Each variant is calibrated on the validation rows by its own logits. The fp32 artifact also holds what torch
    answers on the held-out rows, and how fast: ``reference.json`` and ``reference_logits.npy`` of shape (rows,
    classes). This is the last step that has torch, so that the evaluation needs none.

    Args:
        model: Directory of a fine-tuned model.
        dataset: Directory of the prepared data set that it was trained on.
        onnx_output: Directory to write: ``model.onnx``, tokenizer, ``config.json``, ``calibration.json``,
            ``export.json``, and the reference.
        int8_output: Directory to write: the same with ``model.int8.onnx``, without the reference.
        opset: ONNX operator set.

    Raises:
        UserError: The model or the opset is unusable.
        RuntimeError: The exported model answers differently, or a file grew.
    """
    if opset not in OPSETS:
        raise UserError(f"opset={opset}: must be {OPSETS[0]} to {OPSETS[-1]}")
    source, data = verified(model), verified(dataset)
    texts = {split: _column(data / f"{split}.parquet", "text") for split in ("validation", "test")}
    torch_classifier = TorchClassifier(source)
    torch_bytes = sum(file.stat().st_size for file in source.glob("*.safetensors"))

    graph = to_onnx(torch_classifier.model, opset)
    shared = share_weights(graph)
    graph = fold_constants(graph)
    share_weights(graph)
    scored = score(torch_classifier, texts["test"])
    reference = {
        "predicted": scored.probabilities.argmax(axis=1).tolist(),
        "size_bytes": torch_bytes,
        **scored.speed,
    }
    with (
        atomic_directory(onnx_output, "export_onnx") as onnx_target,
        atomic_directory(int8_output, "export_onnx") as int8_target,
    ):
        onnx_bytes = _write(graph, onnx_target / "model.onnx", source)
        int8_bytes = _write(quantise_int8(graph), int8_target / "model.int8.onnx", source)
        if int8_bytes >= onnx_bytes:
            raise RuntimeError(f"int8 takes {int8_bytes} bytes, fp32 {onnx_bytes}: quantisation made the file larger")
        fp32, int8 = OnnxClassifier(onnx_target), OnnxClassifier(int8_target)
        logits = [classifier.text_logits(texts["validation"]) for classifier in (fp32, int8)]
        truth = _truth(data / "validation.parquet", fp32.labels)
        calibrations = [fit_temperature(variant, truth) for variant in logits]
        exported = ExportedModel(
            opset=opset,
            torch_bytes=torch_bytes,
            onnx_bytes=onnx_bytes,
            int8_bytes=int8_bytes,
            shared_weight_bytes=shared,
            max_abs_diff=_max_difference(torch_classifier, fp32, texts["validation"][:PARITY_TEXTS]),
            int8_agreement=float((logits[0].argmax(axis=1) == logits[1].argmax(axis=1)).mean()),
            temperature=calibrations[0].temperature,
            int8_temperature=calibrations[1].temperature,
        )
        write_json(onnx_target / "reference.json", reference)
        np.save(onnx_target / "reference_logits.npy", scored.logits, allow_pickle=False)
        for target, calibration in zip((onnx_target, int8_target), calibrations, strict=True):
            calibration.write(target)
            write_json(target / "export.json", exported.metrics())
    return exported


def _column(path: Path, name: str) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[name])[name].to_pylist()


def _truth(path: Path, labels: list[str]) -> NDArray[np.int64]:
    """Return the class of each row of a split, shape (rows,)."""
    index = {label: number for number, label in enumerate(labels)}
    names = _column(path, "label")
    if unknown := sorted(set(names) - set(index)):
        raise UserError(
            f"{path}: the model knows no label {unknown[0]!r}; export a model with the data it learned from"
        )
    return np.array([index[name] for name in names], dtype=np.int64)


def _write(graph: "onnx.ModelProto", path: Path, source: Path) -> int:
    """Write a checked graph and the files it is served with; return its size in bytes."""
    import onnx

    onnx.checker.check_model(graph)
    onnx.save(graph, path)
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, path.parent / name)
    return path.stat().st_size


def _max_difference(torch_classifier: TorchClassifier, fp32: OnnxClassifier, texts: list[str]) -> float:
    """Return the largest difference of a logit, over padded batches and single texts."""
    parts = [torch_classifier.encoder.encode(part) for part in (texts, texts[:1])]
    batches = [part.padded(rows) for part in parts for rows in part.batches()]
    differences = [np.abs(torch_classifier.logits(b) - fp32.logits(b)).max() for b in batches]
    worst = float(max(differences))
    if not worst <= MAX_DIFFERENCE:
        raise RuntimeError(
            f"ONNX and torch differ by {worst} in a logit, more than {MAX_DIFFERENCE}: the export is wrong"
        )
    return worst
