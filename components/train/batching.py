"""Batches of texts of similar length, in random order."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler
from transformers import Trainer

NO_LABEL = -100  # cross entropy and the Trainer's count of rows leave it out
MEGA_BATCHES = 100  # batches that are sorted together; padding takes about 2 % of the tokens of short texts


class LengthGroupedBatches(Sampler[int]):
    """Yields row numbers so that each ``batch_size`` of them have similar lengths, and batches come in random order.

    Transformers' own ``group_by_length`` walks from the longest texts to the shortest, fifty batches at a time. Where
    length tells the label, as it does for short requests, classes then come one after the other and the model forgets.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, fillers: int = 0) -> None:
        """Group rows of these lengths in tokens, in an order that follows from the seed and the epoch.

        Args:
            lengths: Tokens of each row.
            batch_size: Rows of a batch.
            seed: Any number.
            fillers: Rows after those, which fill up the last batch.
        """
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.fillers = fillers
        self.epoch = 0

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lengths) + self.fillers

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch, counted from 0; the Trainer calls this, also when it resumes in the middle."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """Yield every row number once."""
        random = np.random.default_rng((self.seed, self.epoch))
        rows = torch.from_numpy(random.permutation(len(self.lengths)))
        sorted_rows = [mega[self.lengths[mega].argsort()] for mega in rows.split(self.batch_size * MEGA_BATCHES)]
        batches = [batch for mega in sorted_rows for batch in mega.split(self.batch_size)]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        rest = [batch for batch in batches if len(batch) < self.batch_size]  # last, or it would shift all that follow
        for number in random.permutation(len(full)):
            yield from full[number].tolist()
        for batch in rest:
            yield from batch.tolist()
        yield from range(len(self.lengths), len(self))


def filled_up(rows: Sequence[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    """Return rows, and after them as many without a label as the last batch lacks.

    Where several processes divide it, accelerate would repeat rows of the epoch's beginning instead.
    """
    return [*rows, *[{"input_ids": [0], "labels": NO_LABEL}] * (-len(rows) % batch_size)]


def pad_batch(rows: Sequence[dict[str, Any]], padding: int) -> dict[str, torch.Tensor]:
    """Return rows as one batch, filled up to the longest of them.

    Args:
        rows: With ``input_ids`` and ``labels``.
        padding: Token id to fill up with; the attention mask hides it.
    """
    width = max(len(row["input_ids"]) for row in rows)
    ids = torch.full((len(rows), width), padding)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
        mask[number, : len(row["input_ids"])] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}


class LengthGroupedTrainer(Trainer):
    """A Trainer that draws its batches from `LengthGroupedBatches`.

    Several processes take the batches that one would take: each gets its consecutive share of every one.
    """

    def _get_train_sampler(self, train_dataset: Any = None) -> LengthGroupedBatches:
        examples: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(example["input_ids"]) for example in examples if example["labels"] != NO_LABEL]
        batch_size = self.args.train_batch_size * self.args.world_size
        return LengthGroupedBatches(lengths, batch_size, self.args.seed, fillers=len(examples) - len(lengths))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Count nothing: the Trainer's own way walks over all modules in every step; see `throughput`."""
        return 0
