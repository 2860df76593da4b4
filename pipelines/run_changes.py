"""What a model does better or worse than another one on the same held-out rows: by class, and by confusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kfp_textclf.components.common.classification import ClassScore, per_class
from kfp_textclf.components.common.report import Block, Quantity, Table

MOST_CLASSES, MOST_PAIRS, EXAMPLES = 30, 10, 3
LONGEST_EXAMPLE = 160  # characters


@dataclass(frozen=True)
class Reference:
    """The model to compare with.

    Attributes:
        name: What it is called.
        labels: Class names, in the order of the matrix.
        matrix: Counts, true by predicted.
        mistakes: (text, predicted label) of its mistakes; None when each mistake of the other model tells what this
            one answered.
    """

    name: str
    labels: list[str]
    matrix: list[list[int]]
    mistakes: set[tuple[str, str]] | None = field(default=None)

    @classmethod
    def of_champion(cls, champion: Mapping[str, Any]) -> "Reference":
        """Return the champion of an evaluation."""
        return cls(f"the champion {champion['version']}", champion["labels"], champion["confusion_matrix"])

    @classmethod
    def of_run(cls, name: str, content: Mapping[str, Any]) -> "Reference":
        """Return the model of another run."""
        mistakes = {(mistake["text"], mistake["predicted"]) for mistake in content["mistakes"]}
        return cls(f"the run {name}", content["labels"], content["confusion_matrix"], mistakes)


def classes(content: Mapping[str, Any], reference: Reference | None) -> list[Block]:
    """Return a table of the classes whose F1 changed, the largest changes first."""
    if not reference:
        return []
    before = _scores(reference.matrix, reference.labels)
    now = _scores(content["confusion_matrix"], content["labels"])
    changed = []
    for label, score in now.items():
        earlier = before.get(label)
        if earlier is None or abs(score.f1 - earlier.f1) > 1e-9:
            changed.append((score, earlier))
    changed.sort(key=lambda pair: (-abs(pair[0].f1 - (pair[1].f1 if pair[1] else 0)), pair[0].label))
    rows = [
        (
            score.label,
            score.support,
            score.f1,
            Quantity(f"{earlier.f1:.4f}" if earlier else "unknown class"),
            Quantity(f"{score.f1 - earlier.f1:+.4f}" if earlier else ""),
            Quantity(f"{score.recall - earlier.recall:+.4f}" if earlier else ""),
        )
        for score, earlier in changed[:MOST_CLASSES]
    ]
    note = f"The other {len(now) - len(rows)} of {len(now)} classes are as good as before."
    if len(changed) > len(rows):
        note = f"{len(changed)} classes changed, these the most."
    if not rows:
        return []
    columns = ("class", "rows", "F1", "F1 before", "change", "change of recall")
    return [Table(f"Classes beside {reference.name}", columns, rows, note, folded=len(rows) > 12)]


def _scores(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, ClassScore]:
    return {score.label: score for score in per_class(np.asarray(matrix), list(labels))}


def confusions(content: Mapping[str, Any], reference: Reference | None) -> list[Block]:
    """Return a table of the confusions that happen more often than before, with texts that are new among them."""
    if not reference:
        return []
    before = _confused(reference.matrix, reference.labels)
    now = _confused(content["confusion_matrix"], content["labels"])
    worse = sorted((before.get(pair, 0) - count, pair) for pair, count in now.items() if count > before.get(pair, 0))
    rows = [
        (*pair, before.get(pair, 0), now[pair], _examples(content["mistakes"], pair, reference))
        for _, pair in worse[:MOST_PAIRS]
    ]
    if not rows:
        return []
    note = f"The worst {len(rows)} of {len(worse)}." if len(worse) > len(rows) else ""
    columns = ("true", "predicted", "before", "now", "texts that were not confused so before")
    return [Table(f"Confusions more frequent than with {reference.name}", columns, rows, note)]


def _confused(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[tuple[str, str], int]:
    return {
        (labels[i], labels[j]): count for i, row in enumerate(matrix) for j, count in enumerate(row) if count and i != j
    }


def _examples(mistakes: Sequence[Mapping[str, Any]], pair: tuple[str, str], reference: Reference) -> str:
    texts = []
    for mistake in mistakes:
        if reference.mistakes is None:
            known = mistake.get("champion") == mistake["predicted"]
        else:
            known = (mistake["text"], mistake["predicted"]) in reference.mistakes
        if (mistake["label"], mistake["predicted"]) == pair and not known:
            text = mistake["text"]
            texts.append(text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}…")
    return " / ".join(texts[:EXAMPLES])
