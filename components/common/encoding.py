"""Texts as token ids, and the padded batches that models take."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError

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
        config = read_json(directory / "config.json")
        try:
            self.pad_id = int(config.get("pad_token_id") or 0)
            self.labels = [config["id2label"][str(i)] for i in range(len(config["id2label"]))]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{directory / 'config.json'}: has no labels under id2label; name the directory of an exported model"
            ) from error

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the token ids of the texts; several are tokenised in parallel."""
        started = time.perf_counter()
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(list(texts))]
        return Encoded(ids, self.pad_id, time.perf_counter() - started)


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """Return ``input_ids`` and ``attention_mask`` of shape (rows, longest row), at least one column."""
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(max(lengths.max(), 1)) < lengths[:, None]).astype(np.int64)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask == 1] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}
