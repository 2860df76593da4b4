"""Turn pinned files into validated, split and tokenised tables."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import atomic_directory, verified, write_json
from kfp_textclf.components.common.base_models import resolve_base_model
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.tokenising import load_tokenizer, save_tokenizer, tokenise
from kfp_textclf.components.prepare.cleaning import (
    Cleaned,
    Row,
    clean,
    without_leaks,
    without_rare_labels,
    without_unseen_labels,
)
from kfp_textclf.components.prepare.data_report import data_report
from kfp_textclf.components.prepare.readers import Columns, read_rows
from kfp_textclf.components.prepare.splitting import stratified_split

READABLE = (".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class PreparedDataset:
    """What was prepared.

    Attributes:
        rows: Rows per split.
        labels: Label names, sorted.
        class_counts: Rows per split and label.
        counts: Per source (``train``, ``test``): rows read, and rows dropped or changed by each rule.
        tokens: Tokens per split, special tokens included.
        truncated: Texts cut to the longest allowed length.
        longest: Tokens of the longest text.
    """

    rows: dict[str, int]
    labels: list[str]
    class_counts: dict[str, dict[str, int]]
    counts: dict[str, dict[str, int]]
    tokens: dict[str, int]
    truncated: int
    longest: int
    report_html: str = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs."""
        total = sum(self.rows.values())
        dropped = {name: sum(source.get(name, 0) for source in self.counts.values()) for name in DROP_COUNTS}
        return {
            **{f"{split}_rows": count for split, count in self.rows.items()},
            "classes": len(self.labels),
            **dropped,
            "truncated_share": self.truncated / total,
            "tokens_per_row": sum(self.tokens.values()) / total,
        }

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        fields = asdict(self)
        del fields["report_html"]
        return {**fields, "truncated_share": self.truncated / sum(self.rows.values())}


DROP_COUNTS = ("duplicates_dropped", "leaked_dropped", "empty_dropped", "conflicting_texts", "rare_label_dropped")


def prepare(
    raw: str,
    output: str,
    *,
    base_model: str,
    train_file: str = "",
    test_file: str = "",
    columns: Columns | None = None,
    multi_label: str = "keep",
    min_examples: int = 1,
    unseen_labels: str = "error",
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    max_length: int = 128,
    seed: int = 13,
) -> PreparedDataset:
    """Clean, split and tokenise a raw data set.

    Args:
        raw: Directory of the raw data set.
        output: Directory to write: ``train.parquet``, ``validation.parquet`` and ``test.parquet`` with columns text,
            label, input_ids and length (in tokens), ``labels.json``, and the tokenizer's files.
        base_model: URI of the model whose tokenizer is used, see `resolve_base_model`.
        train_file: Name of the training file in ``raw``; not needed when there is one file alone.
        test_file: Name of the held-out file in ``raw``; empty to hold out ``test_fraction`` of the training file.
        columns: Where text and label are.
        multi_label: ``keep``, ``first`` or ``drop`` labels such as ``a#b``.
        min_examples: Labels with fewer training rows are dropped.
        unseen_labels: ``error`` or ``drop`` for test rows whose label is never in train.
        validation_fraction: Share of the training rows kept apart for choices made during training.
        test_fraction: Share of the rows held out when there is no ``test_file``.
        max_length: Longest text in tokens; longer ones are cut, and counted.
        seed: Seed of the splits.

    Raises:
        UserError: The data or a parameter is unusable; the message names file and line, or the parameter.
    """
    directory = verified(raw)
    train_path, test_path = _source_files(directory, train_file, test_file)
    columns = columns or Columns()
    train = clean(read_rows(train_path, columns), multi_label)
    test = clean(read_rows(test_path, columns), multi_label) if test_path else None
    if test:
        without_leaks(train, test)
    _require_rows(train, train_path.name)
    if not test:
        rest, held_out = stratified_split(train.rows, test_fraction, seed)
        train, test = Cleaned(rest, train.counts), Cleaned(held_out)
    without_rare_labels(train, test, min_examples)
    without_unseen_labels(train, test, unseen_labels)
    _require_rows(train, train_path.name)
    _require_rows(test, test_path.name if test_path else "test split", classes=1)
    train_rows, validation_rows = stratified_split(train.rows, validation_fraction, seed)
    splits = {"train": train_rows, "validation": validation_rows, "test": test.rows}
    counts = {"train": dict(train.counts), "test": dict(test.counts)}
    return _write(splits, counts, output, base_model, max_length)


def _source_files(directory: Path, train_file: str, test_file: str) -> tuple[Path, Path | None]:
    names = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.suffix in READABLE)
    if not train_file:
        if len(names) != 1:
            raise UserError(
                f"raw data set holds {', '.join(names) or 'no readable file'}; set train_file to one of them"
            )
        train_file = names[0]
    for parameter, name in (("train_file", train_file), ("test_file", test_file)):
        if name and name not in names:
            raise UserError(
                f"{parameter}={name!r}: is not in the raw data set ({', '.join(names) or 'no readable file'})"
            )
    return directory / train_file, directory / test_file if test_file else None


def _require_rows(part: Cleaned, name: str, classes: int = 2) -> None:
    labels = {label for _, label in part.rows}
    if not part.rows:
        raise UserError(f"{name}: no usable row of {part.counts['rows_read']} read; each needs a text and a label")
    if len(labels) < classes:
        raise UserError(
            f"{name}: {len(part.rows)} usable rows of {len(labels)} label; a classifier needs 2 labels or more"
        )


def _write(
    splits: dict[str, list[Row]], counts: dict[str, dict[str, int]], output: str, base_model: str, max_length: int
) -> PreparedDataset:
    import pyarrow as pa
    import pyarrow.parquet as pq

    model = resolve_base_model(base_model)
    tokenizer = load_tokenizer(model, max_length)
    labels = sorted({label for _, label in splits["train"]})
    lengths: dict[str, list[int]] = {}
    truncated = 0
    with atomic_directory(output, "prepare_dataset") as directory:
        for split, rows in splits.items():
            tokenised = tokenise(tokenizer, [text for text, _ in rows])
            truncated += tokenised.truncated
            lengths[split] = [len(ids) for ids in tokenised.ids]
            table = pa.table(
                {
                    "text": [text for text, _ in rows],
                    "label": [label for _, label in rows],
                    "input_ids": pa.array(tokenised.ids, pa.list_(pa.int32())),
                    "length": pa.array(lengths[split], pa.int32()),
                }
            )
            pq.write_table(table, directory / f"{split}.parquet")
        write_json(directory / "labels.json", labels)
        save_tokenizer(tokenizer, model, directory)
    class_counts = {split: dict(sorted(Counter(label for _, label in rows).items())) for split, rows in splits.items()}
    rows = {split: len(part) for split, part in splits.items()}
    return PreparedDataset(
        rows=rows,
        labels=labels,
        class_counts=class_counts,
        counts=counts,
        tokens={split: sum(values) for split, values in lengths.items()},
        truncated=truncated,
        longest=max(max(values) for values in lengths.values()),
        report_html=data_report(rows, class_counts, counts, lengths, truncated),
    )
