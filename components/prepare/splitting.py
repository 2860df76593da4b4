"""Splitting rows reproducibly, with every class on both sides where it has the rows for it."""

from collections.abc import Mapping

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.staged_rows import StagedRows


def stratified_split(rows: StagedRows, counts: Mapping[str, int], fraction: float, split: str) -> None:
    """Move a fraction of the training rows to another split, class by class.

    Which ones, a hash of seed and text says, not their order or number: a text mostly stays on its side when the data
    grows, and no random generator's next version changes a split.

    Args:
        rows: The staged rows.
        counts: Training rows of each class.
        fraction: Share to move, between 0 and 1.
        split: Where to: ``test`` or ``validation``.

    Raises:
        UserError: The fraction is out of range.
    """
    rows.move(split_shares(counts, fraction), split)


def split_shares(counts: Mapping[str, int], fraction: float) -> dict[str, int]:
    """Return how many rows of each class go to the second part.

    A class of n rows gives ``round(n * fraction)``, at least one when n is 2 or more and none when n is 1: the first
    part, which is learned from, has every class. scikit-learn's stratified split refuses such a class.

    Args:
        counts: Rows per class.
        fraction: Share of the second part.

    Raises:
        UserError: The fraction is not between 0 and 1.
    """
    if not 0 < fraction < 1:
        raise UserError(f"fraction {fraction}: must lie between 0 and 1")
    return {label: min(max(1, round(n * fraction)), n - 1) for label, n in counts.items()}
