"""Which rows are learned from, and which are held out: each rule counts what it changed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.texts import normalise
from kfp_textclf.components.prepare.cleaning import LABEL_SEPARATOR, single_label
from kfp_textclf.components.prepare.readers import Columns, read_rows
from kfp_textclf.components.prepare.row_checks import RowChecks
from kfp_textclf.components.prepare.shortage import Shortage
from kfp_textclf.components.prepare.splitting import stratified_split
from kfp_textclf.components.prepare.staged_rows import StagedRows

BATCH_ROWS, BATCH_CHARACTERS = 10_000, 2_000_000
Row = tuple[int, str, str]  # number of the line, text, label


def stage_file(
    rows: StagedRows, source: str, path: Path, columns: Columns, multi_label: str, checks: RowChecks
) -> Counter[str]:
    """Read, normalise and check the rows of a file, and stage those that have a text and a label.

    Texts are compared after Unicode NFC normalisation with runs of white space folded.

    Args:
        rows: Where to.
        source: ``train`` or ``test``.
        path: The file.
        columns: Where text and label are.
        multi_label: What to do with a label such as ``a#b``, see `single_label`.
        checks: Sees every row.

    Returns:
        How many rows were read, and how many each rule dropped or changed.

    Raises:
        UserError: The file is unusable.
    """
    counts: Counter[str] = Counter(rows_read=0)
    for batch in _batches(read_rows(path, columns)):
        numbers, texts, labels = zip(*batch, strict=True)
        checks.add(path, numbers, texts, labels)
        rows.add(source, _usable(batch, multi_label, counts))
    return counts


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    characters = 0
    for number, raw_text, raw_label in rows:
        text, label = normalise(raw_text), normalise(raw_label)
        batch.append((number, text, label))
        characters += len(text) + len(label)
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _usable(batch: list[Row], multi_label: str, counts: Counter[str]) -> Iterator[Row]:
    counts["rows_read"] += len(batch)
    for number, text, label in batch:
        if not text or not label:
            counts["empty_dropped"] += 1
            continue
        if LABEL_SEPARATOR in label:
            counts["multi_label_rows"] += 1
            label = single_label(label, multi_label)
            if not label:
                continue
        yield number, text, label


def select_rows(
    rows: StagedRows,
    counts: Mapping[str, Counter[str]],
    names: Mapping[str, str],
    *,
    min_examples: int,
    unseen_labels: str,
    validation_fraction: float,
    test_fraction: float,
) -> Counter[str]:
    """Drop duplicates, leaks and labels with too few rows, and split the rest.

    A text that stands under several labels keeps its most frequent one, the earliest of equals.

    Args:
        rows: The staged rows.
        counts: Counts per source; how many rows each rule dropped is added.
        names: The file of each source, for messages; without one for ``test``, training rows are held out.
        min_examples: Labels with fewer training rows are dropped from both sides.
        unseen_labels: ``error`` or ``drop`` for test rows whose label is never in train.
        validation_fraction: Share of the training rows kept apart for choices made during training.
        test_fraction: Share of the rows held out when there is no test file.

    Returns:
        The training rows per label, the validation rows among them.

    Raises:
        UserError: Too little is left, or a test label is never in train and that is an error.
    """
    rows.merge_duplicates()
    for source in names:
        staged = rows.staged("source = ?", source)
        counts[source]["duplicates_dropped"] = staged - rows.count("source = ?", source)
        counts[source]["conflicting_texts"] = rows.count("source = ? AND labels > 1", source)
    if "test" in names:
        counts["train"]["leaked_dropped"] = rows.drop_leaks()
    classes = rows.class_counts()
    shortage = Shortage(rows, counts, names, min_examples)
    shortage.require_rows("train", classes["train"])
    if "test" not in names:
        shortage.require_split(classes["train"])
        stratified_split(rows, classes["train"], test_fraction, "test")
        classes = rows.class_counts()
    rare = [label for label, count in classes["train"].items() if count < min_examples]
    for split in ("train", "test"):
        counts[split]["rare_label_dropped"] = _drop(rows, classes, split, rare, "rare_label")
    unseen = sorted(classes["test"].keys() - classes["train"].keys())
    if unseen and unseen_labels == "error":
        raise UserError(
            f"test: label{'s' * (len(unseen) > 1)} {', '.join(map(repr, unseen[:5]))} never in train; "
            "add training rows or set unseen_labels=drop"
        )
    counts["test"]["unseen_label_dropped"] = _drop(rows, classes, "test", unseen, "unseen_label")
    for source in names:
        shortage.require_rows(source, classes[source])
    shortage.require_split(classes["train"])
    stratified_split(rows, classes["train"], validation_fraction, "validation")
    return classes["train"]


def _drop(rows: StagedRows, classes: Mapping[str, Counter[str]], split: str, labels: list[str], reason: str) -> int:
    for label in labels:
        del classes[split][label]
    return rows.drop_labels(labels, split, reason) if labels else 0
