"""Runs that Weights & Biases logged offline: the ``.wandb`` file of a run directory.

The file is a log in LevelDB's format (https://github.com/google/leveldb/blob/main/doc/log_format.md) behind seven bytes
of header; each record is a protobuf message of the package ``wandb``, which has no public reader for it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.runs import Run, parameters

BLOCK, RECORD_HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, LAST = 1, 2, 4


def run_file(place: Path) -> Path | None:
    """Return the ``.wandb`` file that a path names, itself or as its run directory, or None."""
    if place.is_file() and place.suffix == ".wandb":
        return place
    return next(iter(sorted(place.glob("run-*.wandb"))), None) if place.is_dir() else None


def load(place: Path, name: str) -> Run:
    """Read config and summary of an offline run.

    Raises:
        UserError: ``wandb`` is not installed, or the file is none of its logs.
    """
    path = run_file(place)
    if path is None:
        raise UserError(f"{place}: holds no run-*.wandb; name the directory of an offline W&B run")
    config, summary = _read(path)
    pin = config.pop("dataset_pin", None)
    pin = pin if isinstance(pin, dict) else {}
    params = {key.rpartition(".")[2]: value for key, value in _flat(config) if not key.startswith("_wandb")}
    figures = {
        key: float(value)
        for key, value in _flat(summary)
        if isinstance(value, int | float) and not isinstance(value, bool) and not key.startswith("_")
    }
    return Run(
        name=name,
        source="wandb",
        metrics=figures,
        params=parameters(params),
        dataset={
            "git_rev": pin.get("git_rev", ""),
            "md5": {file["path"]: file["md5"] for file in pin.get("files", [])},
        }
        if pin
        else {},
        note="W&B keeps no predictions: its held-out rows cannot be compared",
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config and summary as the log leaves them."""
    try:
        from google.protobuf.message import DecodeError
        from wandb.proto import wandb_internal_pb2 as messages
    except ImportError as error:
        raise UserError(f"{path}: needs wandb to be read; pip install 'kfp-textclf[track]'") from error
    config: dict[str, Any] = {}
    logged: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    try:
        for content in _records(path.read_bytes()):
            record = messages.Record.FromString(content)  # type: ignore[attr-defined]
            _put(config, record.run.config.update)
            _put(config, record.config.update)
            _put(logged, record.history.item)
            _put(summary, record.run.summary.update)
            _put(summary, record.summary.update)
    except (DecodeError, ValueError) as error:
        raise UserError(f"{path}: is not a log of W&B ({error}); name an offline run directory") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return config, {**logged, **summary}


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log; one that a killed process left half-written ends it."""
    if not data.startswith(b":W&B"):
        raise ValueError("its first bytes are not those of one")
    position, parts = FILE_HEADER, b""
    while position + RECORD_HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        position += RECORD_HEADER
        if position + length > len(data) or not FULL <= kind <= LAST:
            return
        parts = (
            data[position : position + length] if kind in (FULL, FIRST) else parts + data[position : position + length]
        )
        position += length
        if kind in (FULL, LAST):
            yield parts


def _put(target: dict[str, Any], items: Iterable[Any]) -> None:
    for item in items:
        keys = list(item.nested_key) or [item.key]
        place = target
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        place[keys[-1]] = json.loads(item.value_json)


def _flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value) of the leaves."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
