"""What changed between two versions of a file of texts and labels."""

import hashlib
from array import array
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_textclf.components.common.texts import normalise
from kfp_textclf.components.prepare.readers import Columns, read_rows

if TYPE_CHECKING:
    import numpy as np

DIGEST_BYTES = 16


@dataclass(frozen=True)
class FileSummary:
    """A version of a file in figures.

    Attributes:
        rows: Rows with text and label.
        empty: Rows without one of them.
        texts: Different texts.
        labels: Rows by label.
    """

    rows: int = 0
    empty: int = 0
    texts: int = 0
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FileChanges:
    """What changed in a file.

    Attributes:
        old: The older version; without rows when there was no such file.
        new: The newer version.
        added: Texts that only the newer version has.
        removed: Texts that only the older version has.
        relabelled: Texts that both have, under another label.
        moves: Relabelled texts by old and new label, most frequent first.
        added_examples: Some texts and labels, in file order.
        removed_examples: The same of removed texts.
        relabelled_examples: Some texts with old and new label.
    """

    old: FileSummary
    new: FileSummary
    added: int
    removed: int
    relabelled: int
    moves: list[tuple[str, str, int]]
    added_examples: list[tuple[str, str]]
    removed_examples: list[tuple[str, str]]
    relabelled_examples: list[tuple[str, str, str]]


def compare_files(old: Path | None, new: Path | None, columns: Columns, examples: int = 5) -> FileChanges:
    """Compare two versions of a file; of a row no more than a digest of its text and its label is held.

    Texts are compared as ``prepare_dataset`` compares them: normalised, and a text under several labels counts under
    its most frequent one, the earliest of equals.

    Args:
        old: The older version; None when there was no such file.
        new: The newer version; None when there is none any more.
        columns: Where text and label are.
        examples: How many texts of each kind are shown.

    Raises:
        UserError: A file cannot be read as texts and labels.
    """
    import numpy as np

    names: dict[str, int] = {}
    before, after = _index(old, columns, names), _index(new, columns, names)
    labels = list(names)
    _, in_old, in_new = np.intersect1d(before.digests, after.digests, assume_unique=True, return_indices=True)
    label_before = np.full(len(after.rows), -1, dtype=np.int64)
    label_before[in_new] = before.labels[in_old]
    added = np.flatnonzero(label_before < 0)
    relabelled = np.flatnonzero((label_before >= 0) & (label_before != after.labels))
    removed = np.delete(np.arange(len(before.rows)), in_old)
    pairs, counts = np.unique(label_before[relabelled] * len(labels) + after.labels[relabelled], return_counts=True)
    moves = [
        (labels[pair // len(labels)], labels[pair % len(labels)], count)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
    return FileChanges(
        before.summary,
        after.summary,
        len(added),
        len(removed),
        len(relabelled),
        sorted(moves, key=lambda move: (-move[2], move)),
        [(text, labels[after.labels[i]]) for i, text in _texts(new, columns, after, added, examples)],
        [(text, labels[before.labels[i]]) for i, text in _texts(old, columns, before, removed, examples)],
        [
            (text, labels[label_before[i]], labels[after.labels[i]])
            for i, text in _texts(new, columns, after, relabelled, examples)
        ],
    )


@dataclass(frozen=True)
class _Index:
    """The different texts of a file: sorted digests, and for each its label and the first row that holds it."""

    digests: "np.ndarray"
    labels: "np.ndarray"
    rows: "np.ndarray"
    summary: FileSummary


def _index(path: Path | None, columns: Columns, names: dict[str, int]) -> _Index:
    """Read a file; ``names`` gets a number for each new label."""
    import numpy as np

    digests, numbers, places = bytearray(), array("q"), array("q")
    number = 0
    for number, row in enumerate(read_rows(path, columns) if path else (), start=1):
        text, label = normalise(row[-2]), normalise(row[-1])
        if text and label:
            digests += hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
            numbers.append(names.setdefault(label, len(names)))
            places.append(number)
    label_of, place_of = np.frombuffer(numbers, dtype=np.int64), np.frombuffer(places, dtype=np.int64)
    counts = np.bincount(label_of, minlength=len(names))
    by_label = {name: int(counts[index]) for name, index in names.items() if counts[index]}
    ordered = dict(sorted(by_label.items(), key=lambda item: (-item[1], item[0])))
    texts, inverse = np.unique(np.frombuffer(digests, dtype=f"S{DIGEST_BYTES}"), return_inverse=True)
    # One entry per text and label: how often, and where first; then the best entry of each text.
    keys, first, often = np.unique(inverse * max(1, len(names)) + label_of, return_index=True, return_counts=True)
    text_of = keys // max(1, len(names))
    order = np.lexsort((first, -often, text_of))
    best = order[np.unique(text_of[order], return_index=True)[1]]
    earliest = np.full(len(texts), len(places), dtype=np.int64)
    np.minimum.at(earliest, text_of, first)
    summary = FileSummary(len(places), number - len(places), len(texts), ordered)
    return _Index(texts, keys[best] % max(1, len(names)), place_of[earliest], summary)


def _texts(
    path: Path | None, columns: Columns, index: _Index, chosen: "np.ndarray", limit: int
) -> list[tuple[int, str]]:
    """Return, of the chosen texts of an index, the first ones in the file, with their place in the index."""
    import numpy as np

    first = chosen[np.argsort(index.rows[chosen])][:limit]
    wanted = dict(zip(index.rows[first].tolist(), first.tolist(), strict=True))
    if not path or not wanted:
        return []
    rows = enumerate(islice(read_rows(path, columns), max(wanted)), start=1)
    return [(wanted[number], normalise(row[-2])) for number, row in rows if number in wanted]
