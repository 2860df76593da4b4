"""Splitting rows reproducibly, with every class on both sides where it has the rows for it."""

import random
from collections import defaultdict

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.cleaning import Row


def stratified_split(rows: list[Row], fraction: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Split rows in two, class by class.

    A class of n rows gives ``round(n * fraction)`` of them to the second part, at least one when n is 2 or more and
    none when n is 1: the first part, which is learned from, has every class. scikit-learn's stratified split refuses
    such a class.

    Args:
        rows: Texts and labels.
        fraction: Share of the second part, between 0 and 1.
        seed: Same rows, fraction and seed, same split.

    Returns:
        The two parts, each in the order of ``rows``.

    Raises:
        UserError: The fraction is out of range, or the second part would be empty.
    """
    if not 0 < fraction < 1:
        raise UserError(f"fraction {fraction}: must lie between 0 and 1")
    places = defaultdict(list)
    for place, (_, label) in enumerate(rows):
        places[label].append(place)
    taken: set[int] = set()
    for label, members in sorted(places.items()):
        if len(members) > 1:
            share = min(max(1, round(len(members) * fraction)), len(members) - 1)
            taken.update(random.Random(f"{seed}:{label}").sample(members, share))  # noqa: S311  (not for secrets)
    if not taken:
        raise UserError(f"{len(rows)} rows of {len(places)} labels: too few to split; every label has a single row")
    first = [row for place, row in enumerate(rows) if place not in taken]
    return first, [rows[place] for place in sorted(taken)]
