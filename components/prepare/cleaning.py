"""From rows as they stand in files to rows worth learning from: each rule counts what it changed."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kfp_textclf.components.common.errors import UserError

LABEL_SEPARATOR = "#"
MULTI_LABEL_POLICIES = ("keep", "first", "drop")
UNSEEN_LABEL_POLICIES = ("error", "drop")

Row = tuple[str, str]  # text, label


@dataclass
class Cleaned:
    """Cleaned rows of one file.

    Attributes:
        rows: Unique texts with one label each, in file order.
        counts: How many rows were read, and how many each rule dropped or changed.
    """

    rows: list[Row]
    counts: Counter[str] = field(default_factory=Counter)


def clean(rows: Iterable[Row], multi_label: str) -> Cleaned:
    """Normalise, apply the multi-label policy, and keep each text once.

    Texts are compared after Unicode NFC normalisation with runs of white space folded. A text that stands under several
    labels keeps its most frequent one, the earliest of equals.

    Args:
        rows: Texts and labels as read.
        multi_label: What to do with a label such as ``a#b``: ``keep`` it as one label, keep its ``first``, or ``drop``
            the row.

    Raises:
        UserError: The policy is unknown.
    """
    if multi_label not in MULTI_LABEL_POLICIES:
        raise UserError(f"multi_label={multi_label!r}: is not one of {', '.join(MULTI_LABEL_POLICIES)}")
    counts: Counter[str] = Counter()
    votes: dict[str, Counter[str]] = {}
    for raw_text, raw_label in rows:
        counts["rows_read"] += 1
        text, label = normalise(raw_text), normalise(raw_label)
        if not text or not label:
            counts["empty_dropped"] += 1
            continue
        if LABEL_SEPARATOR in label:
            counts["multi_label_rows"] += 1
            if multi_label == "drop":
                continue
            if multi_label == "first":
                label = label.split(LABEL_SEPARATOR)[0].strip() or label
        counts["duplicates_dropped"] += text in votes
        votes.setdefault(text, Counter())[label] += 1
    counts["conflicting_texts"] = sum(len(labels) > 1 for labels in votes.values())
    return Cleaned([(text, labels.most_common(1)[0][0]) for text, labels in votes.items()], counts)


def normalise(text: str) -> str:
    """Return the text in Unicode NFC, without white space around it and with single spaces inside."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def without_leaks(train: Cleaned, test: Cleaned) -> None:
    """Remove from the training rows every text that the test rows hold."""
    held_out = {text for text, _ in test.rows}
    kept = [row for row in train.rows if row[0] not in held_out]
    train.counts["leaked_dropped"] = len(train.rows) - len(kept)
    train.rows = kept


def without_rare_labels(train: Cleaned, test: Cleaned, min_examples: int) -> None:
    """Remove labels with fewer than ``min_examples`` training rows, from both sides."""
    counts = Counter(label for _, label in train.rows)
    rare = {label for label, count in counts.items() if count < min_examples}
    for part in (train, test):
        kept = [row for row in part.rows if row[1] not in rare]
        part.counts["rare_label_dropped"] = len(part.rows) - len(kept)
        part.rows = kept


def without_unseen_labels(train: Cleaned, test: Cleaned, policy: str) -> None:
    """Deal with test labels that training never sees.

    Raises:
        UserError: There is such a label and the policy is ``error``, or the policy is unknown.
    """
    if policy not in UNSEEN_LABEL_POLICIES:
        raise UserError(f"unseen_labels={policy!r}: is not one of {', '.join(UNSEEN_LABEL_POLICIES)}")
    unseen = sorted({label for _, label in test.rows} - {label for _, label in train.rows})
    if unseen and policy == "error":
        raise UserError(
            f"test: label{'s' * (len(unseen) > 1)} {', '.join(map(repr, unseen[:5]))} never in train; "
            "add training rows or set unseen_labels=drop"
        )
    kept = [row for row in test.rows if row[1] not in unseen]
    test.counts["unseen_label_dropped"] = len(test.rows) - len(kept)
    test.rows = kept
