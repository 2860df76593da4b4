"""Export a classifier to ONNX, shrink it and quantise it to int8."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_textclf.components.common.artifacts import atomic_directory, verified, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.scoring import OnnxClassifier, score
from kfp_textclf.components.export.folding import fold_constants
from kfp_textclf.components.export.half_range import check_half_range
from kfp_textclf.components.export.quantisation import VARIANTS, quantise_int8
from kfp_textclf.components.export.sensitivity import nodes_to_keep
from kfp_textclf.components.export.shared_weights import compact, share_weights
from kfp_textclf.components.export.torch_export import TorchClassifier, to_onnx
from kfp_textclf.components.export.variants import Rows, check_variants, write_variant

if TYPE_CHECKING:
    import onnx

PARITY_TEXTS = 64
MAX_DIFFERENCE = 1e-4  # of a logit, ONNX against torch; measured 1e-7 to 3e-6 over five architectures
OPSETS = range(14, 22)


@dataclass(frozen=True)
class ExportedModel:
    """What was exported.

    Attributes:
        opset: ONNX operator set.
        torch_bytes: Size of the safetensors weights.
        shared_weight_bytes: Bytes of repeated weights that are stored once.
        max_abs_diff: Largest difference of a logit between torch and ONNX.
        size_bytes: Size of each variant's file.
        temperature: What calibration divides the logits of each variant by.
        agreement: Share of the validation rows on which each variant and fp32 ONNX answer the same.
        kept: Nodes that int8 leaves in fp32, so that it answers as fp32 does.
    """

    opset: int
    torch_bytes: int
    shared_weight_bytes: int
    max_abs_diff: float
    size_bytes: dict[str, int]
    temperature: dict[str, float]
    agreement: dict[str, float]
    kept: list[str]

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs; those of fp32 without its name."""
        figures = {name: float(getattr(self, name)) for name in ("opset", "torch_bytes", "shared_weight_bytes")}
        figures |= {"max_abs_diff": self.max_abs_diff, "onnx_bytes": self.size_bytes["fp32"]}
        figures |= {"temperature": self.temperature["fp32"], "kept_in_fp32": len(self.kept)}
        for name in self.agreement:
            figures[f"{name}_bytes"] = self.size_bytes[name]
            figures[f"{name}_ratio"] = self.size_bytes[name] / self.torch_bytes
            figures[f"{name}_agreement"] = self.agreement[name]
            figures[f"{name}_temperature"] = self.temperature[name]
        return figures

    def metadata(self, variant: str) -> dict[str, Any]:
        """Return the fields as metadata of the artifact of a variant, ``onnx`` or ``onnx_int8``."""
        size = self.size_bytes["int8" if variant == "onnx_int8" else "fp32"]
        return {**self.metrics(), "variant": variant, "size_bytes": size, "framework": "onnx"}


def export(
    model: str,
    dataset: str,
    onnx_output: str,
    int8_output: str,
    *,
    opset: int = 17,
    variants: Sequence[str] = ("int8",),
    min_int8_agreement: float = 0.0,
) -> ExportedModel:
    """Export a fine-tuned model to fp32 ONNX and smaller variants, checked against torch.

    Each variant is calibrated on the validation rows by its own logits. The fp32 artifact also holds what torch
    answers on the held-out rows, and how fast: ``reference.json`` and ``reference_logits.npy`` of shape (rows,
    classes). This is the last step that has torch, so that the evaluation needs none.

    Args:
        model: Directory of a fine-tuned model.
        dataset: Directory of the prepared data set that it was trained on.
        onnx_output: Directory to write: ``model.onnx``, tokenizer, ``config.json``, ``calibration.json``,
            ``export.json``, and the reference.
        int8_output: Directory to write: the same with ``model.int8.onnx``, without the reference; and each further
            variant in a directory of its name, such as ``int4/model.int4.onnx``.
        opset: ONNX operator set.
        variants: What may be published: int8, and int4, fp16, fp32 if wanted.
        min_int8_agreement: Share of the validation rows on which int8 must answer as fp32 does: the layers that
            matter most stay in fp32 until it does. 0 quantises them all.

    Raises:
        UserError: The model or a setting is unusable.
        RuntimeError: The exported model answers differently, or a file is larger than it may be.
    """
    _check(opset, variants, min_int8_agreement)
    source, data = verified(model), verified(dataset)
    rows = Rows(*(_column(data / "validation.parquet", name) for name in ("text", "label")))
    torch_classifier = TorchClassifier(source)
    torch_bytes = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    scored = score(torch_classifier, _column(data / "test.parquet", "text"))
    reference = {
        "predicted": scored.probabilities.argmax(axis=1).tolist(),
        "size_bytes": torch_bytes,
        "latency_ms": scored.latency_ms,
        **scored.speed,
    }
    graph, shared = _smallest_graph(torch_classifier, opset)
    if "fp16" in variants:
        check_half_range(graph, torch_classifier.encoder, rows.texts)
    with (
        atomic_directory(onnx_output, "export_onnx") as onnx_target,
        atomic_directory(int8_output, "export_onnx") as int8_target,
    ):
        full = compact(graph)
        written = {"fp32": write_variant("fp32", full, onnx_target, source, rows)}
        difference = _max_difference(torch_classifier, OnnxClassifier(onnx_target), rows.texts[:PARITY_TEXTS])
        kept = nodes_to_keep(graph, torch_classifier.encoder, rows.texts, min_int8_agreement)
        places: dict[str, Path] = {}
        make = {**VARIANTS, "int8": partial(quantise_int8, keep=kept)}
        for name in variants:
            places[name] = int8_target if name == "int8" else int8_target / name
            bound = None if name == "fp32" or (name == "int8" and kept) else full
            written[name] = write_variant(name, compact(make[name](graph)), places[name], source, rows, bound)
        exported = ExportedModel(
            opset=opset,
            torch_bytes=torch_bytes,
            shared_weight_bytes=shared,
            max_abs_diff=difference,
            size_bytes={name: variant.size_bytes for name, variant in written.items()},
            temperature={name: variant.temperature for name, variant in written.items()},
            agreement={name: written[name].agreement(written["fp32"]) for name in variants},
            kept=kept,
        )
        write_json(onnx_target / "reference.json", reference)
        np.save(onnx_target / "reference_logits.npy", scored.logits, allow_pickle=False)
        for directory in (onnx_target, *places.values()):
            write_json(directory / "export.json", asdict(exported))
    return exported


def _check(opset: int, variants: Sequence[str], min_int8_agreement: float) -> None:
    if opset not in OPSETS:
        raise UserError(f"opset={opset}: must be {OPSETS[0]} to {OPSETS[-1]}")
    check_variants(variants)
    if not 0 <= min_int8_agreement <= 1:
        raise UserError(f"min_int8_agreement={min_int8_agreement}: must be a share, 0 to 1")


def _smallest_graph(classifier: TorchClassifier, opset: int) -> tuple["onnx.ModelProto", int]:
    """Return the exported graph with each weight stored once, and how many bytes of repeated weights that saved."""
    graph = to_onnx(classifier.model, opset)
    sizes = [graph.ByteSize()]
    shared = share_weights(graph)
    sizes.append(graph.ByteSize())
    graph = fold_constants(graph)
    sizes.append(graph.ByteSize())
    if sizes != sorted(sizes, reverse=True):
        raise RuntimeError(f"the graph grew: bytes exported, weights shared, constants folded: {sizes}")
    return graph, shared


def _column(path: Path, name: str) -> list[str]:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=[name])[name].to_pylist()


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
