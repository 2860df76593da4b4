"""Turn pinned files into validated, split and tokenised tables."""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, manifest_files, verified, write_json
from kfp_textclf.components.common.base_models import resolve_base_model
from kfp_textclf.components.common.data_checks import CheckSettings, Finding, require_passed, summary
from kfp_textclf.components.common.data_profile import (
    FINGERPRINT_COUNT,
    DataProfile,
    coarse_lengths,
    write_fingerprints,
)
from kfp_textclf.components.common.tokenising import TokenisedTable, load_tokenizer, save_tokenizer
from kfp_textclf.components.prepare.cleaning import require_policies
from kfp_textclf.components.prepare.data_report import data_report
from kfp_textclf.components.prepare.headers import refuse_header
from kfp_textclf.components.prepare.readers import Columns, source_files
from kfp_textclf.components.prepare.row_checks import RowChecks
from kfp_textclf.components.prepare.selection import select_rows, stage_file
from kfp_textclf.components.prepare.set_checks import set_findings
from kfp_textclf.components.prepare.staged_rows import SPLITS, StagedRows, staged_rows

DROP_COUNTS = ("duplicates_dropped", "leaked_dropped", "empty_dropped", "conflicting_texts", "rare_label_dropped")


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
        checks: Count, share and result of each check that was made.
    """

    rows: dict[str, int]
    labels: list[str]
    class_counts: dict[str, dict[str, int]]
    counts: dict[str, dict[str, int]]
    tokens: dict[str, int]
    truncated: int
    longest: int
    checks: dict[str, dict[str, Any]]
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
            "check_warnings": sum(check["result"] == "warn" for check in self.checks.values()),
        }

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        fields = asdict(self)
        del fields["report_html"]
        return {**fields, "truncated_share": self.truncated / sum(self.rows.values())}


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
    checks: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    git_rev: str = "",
) -> PreparedDataset:
    """Check, clean, split and tokenise a raw data set, in memory that does not grow with its rows.

    Args:
        raw: Directory of the raw data set.
        output: Directory to write: ``train.parquet``, ``validation.parquet`` and ``test.parquet`` with columns text,
            label, input_ids and length (in tokens), ``labels.json``, the tokenizer's files, and what later data are
            compared with, see `DataProfile`.
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
        checks: Level of each check, see `CheckSettings.parse`.
        limits: What each check tolerates.
        git_rev: Git revision that pinned ``raw``, for the profile.

    Raises:
        UserError: The data or a parameter is unusable; the message names file and line, or the parameter.
    """
    settings = CheckSettings.parse(checks, limits)
    require_policies(multi_label, unseen_labels)
    directory = verified(raw)
    files = source_files(directory, train_file, test_file)
    row_checks = RowChecks(settings)
    with staged_rows(output, seed) as rows:
        columns = columns or Columns()
        counts = {s: stage_file(rows, s, path, columns, multi_label, row_checks) for s, path in files.items()}
        refuse_header(rows, files, columns)
        counts.setdefault("test", Counter())
        classes = select_rows(
            rows,
            counts,
            {source: path.name for source, path in files.items()},
            min_examples=min_examples,
            unseen_labels=unseen_labels,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
        )
        findings = [*row_checks.findings(), *set_findings(rows, counts, classes, files, settings)]
        require_passed(findings, settings)
        dataset = {"git_rev": git_rev, "files": manifest_files(directory / MANIFEST)}
        return _write(rows, output, base_model, max_length, counts, dataset, (findings, settings))


def _write(
    rows: StagedRows,
    output: str,
    base_model: str,
    max_length: int,
    counted: Mapping[str, Counter[str]],
    dataset: dict[str, Any],
    checked: tuple[list[Finding], CheckSettings],
) -> PreparedDataset:
    counts = {source: dict(count) for source, count in counted.items()}
    model = resolve_base_model(base_model)
    tokenizer = load_tokenizer(model, max_length)
    with atomic_directory(output, "prepare_dataset") as directory:
        with ExitStack() as stack:
            tables = {s: stack.enter_context(TokenisedTable(directory / f"{s}.parquet", tokenizer)) for s in SPLITS}
            for split, text, label in rows.kept():
                tables[split].add(text, label)
        labels = sorted(tables["train"].classes)
        write_json(directory / "labels.json", labels)
        save_tokenizer(tokenizer, model, directory)
        class_counts = {split: dict(sorted(table.classes.items())) for split, table in tables.items()}
        tokens = _sum(table.tokens for table in tables.values())
        characters = _sum(table.characters for table in tables.values())
        split_rows = {split: table.classes.total() for split, table in tables.items()}
        DataProfile(
            dataset, split_rows, class_counts, counts, dict(sorted(tokens.items())), coarse_lengths(characters)
        ).write(directory)
        write_fingerprints(rows.fingerprints(FINGERPRINT_COUNT), directory)
    truncated = sum(table.truncated for table in tables.values())
    return PreparedDataset(
        rows=split_rows,
        labels=labels,
        class_counts=class_counts,
        counts=counts,
        tokens={split: sum(n * count for n, count in table.tokens.items()) for split, table in tables.items()},
        truncated=truncated,
        longest=max(tokens),
        checks=summary(*checked),
        report_html=data_report(split_rows, class_counts, counts, tokens, truncated, *checked),
    )


def _sum(counters: Iterable[Counter[int]]) -> Counter[int]:
    return sum(counters, Counter())
