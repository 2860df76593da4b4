"""What changed between two data sets: distances of distributions, and texts that came, went or were labelled anew."""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from kfp_textclf.components.common.data_profile import FINGERPRINT_COUNT, HASHES

LENGTH_BINS = 10
Key = TypeVar("Key")


def jensen_shannon_distance(first: Mapping[Key, float], second: Mapping[Key, float]) -> float:
    """Return the Jensen-Shannon distance of two histograms: 0 when they are proportional, 1 when they share nothing.

    The square root of the Jensen-Shannon divergence to base 2 (Lin, Divergence measures based on the Shannon entropy,
    1991), which is a metric (Endres and Schindelin, A new metric for probability distributions, 2003). Unlike the
    population stability index it is finite where a class is new or gone.

    Args:
        first: Counts, not all 0.
        second: Counts, not all 0.
    """
    divergence = 0.0
    totals = sum(first.values()), sum(second.values())
    for key in sorted({*first, *second}, key=str):
        p, q = first.get(key, 0) / totals[0], second.get(key, 0) / totals[1]
        divergence += sum(share * math.log2(2 * share / (p + q)) for share in (p, q) if share) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def length_distance(before: Mapping[int, int], now: Mapping[int, int]) -> float:
    """Return the Jensen-Shannon distance of two histograms of lengths over the deciles of the first.

    Single lengths would differ by chance alone in small data sets.
    """
    edges: list[int] = []
    seen, total = 0, sum(before.values())
    for length, count in sorted(before.items()):
        seen += count
        if seen * LENGTH_BINS >= total * (len(edges) + 1):
            edges.append(length)
            while seen * LENGTH_BINS >= total * (len(edges) + 1):
                edges.append(length)
    bins: list[Counter[int]] = [Counter(), Counter()]
    for binned, lengths in zip(bins, (before, now), strict=True):
        for length, count in lengths.items():
            binned[bisect_left(edges, length)] += count
    return jensen_shannon_distance(*bins)


@dataclass(frozen=True)
class TextChanges:
    """How many texts came, went or were labelled otherwise.

    Attributes:
        new: Texts that only the data set now holds.
        removed: Texts that only the data set before held.
        relabelled: Texts of both under another label.
        common: Texts of both.
        exact: Counted over all texts; otherwise estimated from a sample that both draw alike.
        new_keys: Hashes of some new texts.
        relabelled_keys: Hashes of some relabelled texts, and the label before.
    """

    new: int
    removed: int
    relabelled: int
    common: int
    exact: bool
    new_keys: tuple[int, ...]
    relabelled_keys: dict[int, str]


def text_changes(before: Mapping[int, str], now: Mapping[int, str], examples: int) -> TextChanges:
    """Compare two bottom-k sketches.

    A sketch that is not full holds all texts of its data set. Below the largest hash of a full one both hold every text
    of theirs, so what is counted there stands for the whole in proportion to the range of hashes.

    Args:
        before: Label by hash of the text.
        now: The same of the other data set.
        examples: How many hashes to return of each kind.
    """
    full = [sketch for sketch in (before, now) if len(sketch) >= FINGERPRINT_COUNT]
    last = min((max(sketch) for sketch in full), default=HASHES - 1)
    old, new = ({key: label for key, label in sketch.items() if key <= last} for sketch in (before, now))
    scale = HASHES / (last + 1)
    common = old.keys() & new.keys()
    relabelled = sorted(key for key in common if old[key] != new[key])
    added = sorted(new.keys() - old.keys())
    return TextChanges(
        new=round(len(added) * scale),
        removed=round(len(old.keys() - new.keys()) * scale),
        relabelled=round(len(relabelled) * scale),
        common=round(len(common) * scale),
        exact=not full,
        new_keys=tuple(added[:examples]),
        relabelled_keys={key: old[key] for key in relabelled[:examples]},
    )
