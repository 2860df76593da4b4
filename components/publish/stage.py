"""Publish a promoted model under an immutable version."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.tracking import track
from kfp_textclf.components.common.tracking_environment import dataset_pin

DATA_PROFILE = ("profile.json", "fingerprints.parquet")  # what later runs compare their data with
TIMINGS = ("latency_ms_p50", "latency_ms_p99", "rows_per_second")


@dataclass(frozen=True)
class PublishedModel:
    """What was published.

    Attributes:
        version: The version, named by its content.
        uri: Where it lies.
        previous: URI of the champion before it; empty for none.
        tracking: Where it was tracked, see `components.common.tracking`.
    """

    version: str
    uri: str
    previous: str
    tracking: dict[str, str]

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return asdict(self)


def publish(model: str, evaluation: str, output: str, *, publish_to: str, keep_versions: int = 0) -> PublishedModel:
    """Store a model that was judged good, and make it the champion.

    The version holds the model's files, ``evaluation.json``, and what the evaluation knows about its data. Publishing
    the same model again changes nothing.

    Args:
        model: Directory of the int8 model, and of further variants in directories of their names.
        evaluation: Directory of its evaluation.
        output: Directory to write: ``published.json``.
        publish_to: ``file://`` or ``s3://`` URI of the model store.
        keep_versions: How many of the newest versions to keep, besides the champion and the one before it; 0 keeps all.

    Raises:
        UserError: The verdict is not ``promote``, the store cannot be written, or the champion is no longer the one
            that the model was compared with.
    """
    store = ModelStore.open(publish_to)
    source = verified(model)
    judged = verified(evaluation)
    report = read_json(judged / "metrics.json")
    if report["verdict"] != "promote":
        raise UserError(f"{evaluation}: the verdict is {report['verdict']!r}; only promoted models are published")
    shipped = report["shipped"]
    figures, directory = report["variants"][shipped], source / shipped.removeprefix("onnx_")
    if shipped == "onnx_int8":
        directory = source
    files = {path.name: path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST}
    files |= {name: judged / name for name in DATA_PROFILE if (judged / name).is_file()}
    with atomic_directory(output, "publish_model") as target:
        # What is measured, not made, differs from run to run: without it the same model has the same version.
        stable = {name: value for name, value in figures.items() if name not in TIMINGS}
        write_json(
            target / "evaluation.json",
            {"labels": report["labels"], "rows": report["rows"], "variant": shipped, shipped: stable},
        )
        files["evaluation.json"] = target / "evaluation.json"
        version = store.add(files, "publish_model")
        champion = report["champion"]["uri"] if report["champion"] else ""
        name, uri = f"{Path(publish_to).name}-{shipped}", store.uri_of(version)
        with track(
            "publish", {"publish_to": publish_to, "version": version, "dataset_pin": dataset_pin(judged)}
        ) as run:
            run.reference_artifact(name, uri, ["candidate"], stable)
            record = store.promote(version, champion, stable)
            run.reference_artifact(name, uri, ["candidate", "champion"], stable)
            run.summary({**stable, "uri": uri, "previous": record["previous"]})
        write_json(target / "published.json", record)
    if keep_versions:
        _prune(store, keep_versions)
    return PublishedModel(version, uri, record["previous"], run.metadata())


def _prune(store: ModelStore, keep: int) -> None:
    """Delete old versions; that it fails does not undo that the new one is the champion."""
    try:
        deleted = store.prune(keep)
    except UserError as error:
        print(f"warning: old versions could not be deleted: {error}")
    else:
        print(f"deleted {len(deleted)} old versions{': ' if deleted else ''}{', '.join(deleted)}")
