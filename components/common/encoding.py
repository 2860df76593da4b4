"""Texts as token ids, and the padded batches that models take."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.texts import normalise

BATCH_TOKENS = 256  # of a padded batch: its activations stay in the core's cache (benchmarks/scoring.py)


@dataclass(frozen=True)
class Encoded:
    """Texts as token ids, in their order.

    Attributes:
        ids: Token ids of each text.
        pad_id: What fills the shorter rows of a batch.
        seconds: How long the tokenizer took.
    """

    ids: list[list[int]]
    pad_id: int
    seconds: float

    def batches(self) -> list[NDArray[np.int64]]:
        """Return the row numbers of each batch: rows of similar length, the longest first, so that little is padding.

        A batch holds at most `BATCH_TOKENS` tokens, padding included, or a single row.
        """
        lengths = np.array([len(row) for row in self.ids], dtype=np.int64)
        order = np.argsort(-lengths, kind="stable")
        batches, start = [], 0
        while start < len(order):
            rows = max(1, BATCH_TOKENS // max(1, int(lengths[order[start]])))
            batches.append(order[start : start + rows])
            start += rows
        return batches

    def padded(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Return the model inputs ``input_ids`` and ``attention_mask`` of some rows, shape (rows, longest of them)."""
        return pad([self.ids[row] for row in rows], self.pad_id)


class TextEncoder:
    """The tokenizer of a model directory.

    Attributes:
        labels: Class names.
        digest: Of ``tokenizer.json``: encoders of the same digest encode alike.
    """

    def __init__(self, directory: Path) -> None:
        """Read ``tokenizer.json`` (its truncation included) and the labels and padding of ``config.json``."""
        from tokenizers import Tokenizer

        if not (directory / "tokenizer.json").is_file():
            raise UserError(f"{directory}: holds no tokenizer.json; name the directory of an exported model")
        content = (directory / "tokenizer.json").read_bytes()
        self.digest = hashlib.sha256(content).hexdigest()
        try:
            self.tokenizer = Tokenizer.from_buffer(content)
        except Exception as error:  # tokenizers raises bare Exception
            raise UserError(f"{directory / 'tokenizer.json'}: is not a readable tokenizer ({error})") from error
        self.tokenizer.no_padding()
        self.labels, self.pad_id = _labels_and_padding(directory / "config.json")

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the token ids of the texts, normalised as in training; several are tokenised in parallel."""
        started = time.perf_counter()
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast([normalise(text) for text in texts])]
        return Encoded(ids, self.pad_id, time.perf_counter() - started)


def is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8: one decoded from other bytes, or half a surrogate pair, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _labels_and_padding(path: Path) -> tuple[list[str], int]:
    config = read_json(path)
    names = config.get("id2label") if isinstance(config, dict) else None
    labels: list[Any] = [names.get(str(number)) for number in range(len(names))] if isinstance(names, dict) else []
    if not labels or not all(isinstance(label, str) and is_utf8(label) for label in labels):
        raise UserError(
            f"{path}: has no labels under id2label, a text for each number from 0; name the directory of an exported "
            "model"
        )
    pad_id = config.get("pad_token_id") or 0
    if not isinstance(pad_id, int) or abs(pad_id) >= 2**31:
        raise UserError(f"{path}: pad_token_id={pad_id!r} is no token id; name the directory of an exported model")
    return labels, pad_id


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Return ``input_ids`` and ``attention_mask`` of shape (rows, longest row), at least one column."""
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(max(lengths.max(), 1)) < lengths[:, None]).astype(np.int64)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask == 1] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}
