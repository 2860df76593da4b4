"""Finished runs, wherever they were made: what `compare` needs to know of each."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError

METRICS, PREDICTIONS = "metrics.json", "predictions.csv"
NO_PARAMETERS = (
    "dataset_pin",
    "train_file",
    "test_file",
    "champion_uri",
    "checkpoint_uri",
    "publish_to",
)  # data, and places
FORMS = "a run below runs/ or its directory, `latest`, `workspace`, a DVC revision or experiment, kfp:RUN_ID, a W&B run"


@dataclass(frozen=True)
class Predictions:
    """The answers to held-out rows.

    Attributes:
        answers: (true label, predicted label) for each row, named by (hash of its text, how often it came before).
    """

    answers: dict[tuple[str, int], tuple[str, str]]

    @classmethod
    def parse(cls, text: str, name: str) -> "Predictions | None":
        """Read the CSV that ``evaluate_model`` writes; None for one of an earlier version, without hashes.

        Raises:
            UserError: It is no such CSV.
        """
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = set(reader.fieldnames or ())
        if columns >= {"actual", "predicted"} and "text_hash" not in columns:
            return None
        seen: Counter[str] = Counter()
        answers = {}
        try:
            if not columns >= {"text_hash", "actual", "predicted"}:
                raise ValueError("its columns are others")
            for row in reader:
                text_hash, actual, predicted = row["text_hash"], row["actual"], row["predicted"]
                if not text_hash or actual is None or predicted is None:
                    raise ValueError(f"line {reader.line_num} is cut off")
                answers[text_hash, seen[text_hash]] = (actual, predicted)
                seen[text_hash] += 1
        except (ValueError, csv.Error) as error:
            raise UserError(f"{name}: is not the predictions.csv of an evaluation ({error}); run it again") from error
        return cls(answers)


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        name: As the user named it.
        source: Where it was found: ``local``, ``workspace``, ``dvc``, ``wandb`` or ``kfp``.
        metrics: Figures by name, those of a variant of the model as ``<variant>.<figure>``.
        params: Pipeline parameters by name.
        dataset: ``git_rev``, ``md5`` of each file, and rows and classes, as far as they are known.
        predictions: Answers to the held-out rows, if they were kept.
        note: Why something is missing.
        content: Of the evaluation's metrics.json; empty where it is not kept.
    """

    name: str
    source: str
    metrics: dict[str, float]
    params: dict[str, Any]
    dataset: dict[str, Any] = field(default_factory=dict)
    predictions: Predictions | None = None
    note: str = ""
    content: dict[str, Any] = field(default_factory=dict)


def local_run(directory: Path, name: str, source: str) -> Run:
    """Read the directory of a run of this machine, or one fetched from a cluster: metrics.json and predictions.csv.

    Raises:
        UserError: It does not hold what a run leaves.
    """
    content = read_json(directory / METRICS)
    predictions, note = None, f"no {PREDICTIONS}: its held-out rows cannot be compared"
    if (directory / PREDICTIONS).is_file():
        try:
            text = (directory / PREDICTIONS).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{directory / PREDICTIONS}: cannot be read ({error}); run it again") from error
        predictions, note = with_note(text, str(directory / PREDICTIONS))
    metrics = variant_metrics(content, directory / METRICS)
    arguments, dataset = (content.get(name) for name in ("arguments", "dataset"))
    return Run(
        name=name,
        source=source,
        metrics=metrics,
        params=parameters({**arguments, **_winner(content)}) if isinstance(arguments, dict) else {},
        dataset=_dataset(dataset) if isinstance(dataset, dict) else {},
        predictions=predictions,
        note=note,
        content=content,
    )


def _winner(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a sweep chose; none of another run."""
    ranking = (content.get("sweep") or {}).get("ranking") or [{}]
    return ranking[0].get("parameters", {})


def parameters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return pipeline arguments without the data and the places among them."""
    return {name: value for name, value in arguments.items() if name not in NO_PARAMETERS}


def with_note(text: str, name: str) -> tuple[Predictions | None, str]:
    """Return predictions, or None and why they are of no use."""
    predictions = Predictions.parse(text, name)
    return predictions, "" if predictions else f"its {PREDICTIONS} is of an earlier version, without text_hash"


def variant_metrics(content: Any, path: Path | str) -> dict[str, float]:
    """Return the figures of every variant of an evaluation's ``metrics.json``.

    Raises:
        UserError: It is no such file.
    """
    state = content.get("state", "SUCCEEDED") if isinstance(content, dict) else ""
    if state and state != "SUCCEEDED":
        raise UserError(f"{path}: this run has not ended well, it is {state}; `kfp-textclf report` tells more")
    variants = content.get("variants") if isinstance(content, dict) else None
    if not isinstance(variants, dict) or not all(isinstance(figures, dict) for figures in variants.values()):
        raise UserError(f"{path}: is not the {METRICS} of a run; name {FORMS}")
    return {
        f"{variant}.{name}": float(value)
        for variant, figures in variants.items()
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def parsed_json(text: str, name: str) -> Any:
    """Return the content of JSON text; ``UserError`` names what it is of."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{name}: is not valid JSON ({error})") from error


def _dataset(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": content.get("name", ""),
        "git_rev": content.get("git_rev", ""),
        "md5": {path: file.get("md5", "") for path, file in (content.get("files") or {}).items()},
        "rows": dict(content.get("rows") or {}),
        "classes": content.get("classes", ""),
    }
