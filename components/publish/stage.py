"""Publish a promoted model under an immutable version."""

from dataclasses import asdict, dataclass
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore

TIMINGS = ("latency_ms_p50", "latency_ms_p99", "rows_per_second")


@dataclass(frozen=True)
class PublishedModel:
    """What was published.

    Attributes:
        version: The version, named by its content.
        uri: Where it lies.
        previous: URI of the champion before it; empty for none.
    """

    version: str
    uri: str
    previous: str

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return asdict(self)


def publish(model: str, evaluation: str, output: str, *, publish_to: str) -> PublishedModel:
    """Store a model that was judged good, and make it the champion.

    The version holds the model's files and ``evaluation.json``. Publishing the same model again changes nothing.

    Args:
        model: Directory of the int8 model.
        evaluation: Directory of its evaluation.
        output: Directory to write: ``published.json``.
        publish_to: ``file://`` URI of the model store.

    Raises:
        UserError: The verdict is not ``promote``, the store cannot be written, or the champion is no longer the one
            that the model was compared with.
    """
    store = ModelStore.open(publish_to)
    source = verified(model)
    report = read_json(verified(evaluation) / "metrics.json")
    if report["verdict"] != "promote":
        raise UserError(f"{evaluation}: the verdict is {report['verdict']!r}; only promoted models are published")
    figures = report["variants"]["onnx_int8"]
    files = {path.name: path for path in source.iterdir() if path.name != MANIFEST}
    with atomic_directory(output, "publish_model") as directory:
        # What is measured, not made, differs from run to run: without it the same model has the same version.
        stable = {name: value for name, value in figures.items() if name not in TIMINGS}
        write_json(
            directory / "evaluation.json", {"labels": report["labels"], "rows": report["rows"], "onnx_int8": stable}
        )
        files["evaluation.json"] = directory / "evaluation.json"
        version = store.add(files, "publish_model")
        champion = report["champion"]["uri"] if report["champion"] else ""
        record = store.promote(version, champion, stable)
        write_json(directory / "published.json", record)
    return PublishedModel(version, store.directory(version).as_uri(), record["previous"])
