"""Checks of rows together: duplicates, conflicts, leakage, and labels with too few rows."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from kfp_textclf.components.common.data_checks import EXAMPLES, CheckSettings, Finding, example
from kfp_textclf.components.prepare.readers import place_of
from kfp_textclf.components.prepare.staged_rows import StagedRows

CONDITIONS = {
    "duplicates": "copies > 1",
    "conflicting_labels": "labels > 1",
    "leakage": "split = 'leaked'",
    "unseen_labels": "split = 'unseen_label'",
}


def set_findings(
    rows: StagedRows,
    counts: Mapping[str, Mapping[str, int]],
    classes: Mapping[str, int],
    files: Mapping[str, Path],
    settings: CheckSettings,
) -> list[Finding]:
    """Return what the checks that look at more than one row found, those that are off left out.

    Args:
        rows: The staged rows, split.
        counts: Rows read and changed by each rule, per source.
        classes: Training rows per label, the validation rows among them.
        files: The file of each source.
        settings: Levels and limits.
    """
    total: Counter[str] = sum((Counter(source) for source in counts.values()), Counter())
    texts = total["rows_read"] - total["empty_dropped"] - total["duplicates_dropped"]
    found = {
        "duplicates": (total["duplicates_dropped"], total["rows_read"]),
        "conflicting_labels": (total["conflicting_texts"], texts),
        "leakage": (total["leaked_dropped"], texts),
    }
    findings = [
        Finding.of_share(name, *figures, _examples(rows, name, figures[0], files))
        for name, figures in found.items()
        if settings.wants(name)
    ]
    few = {label: n for label, n in sorted(classes.items()) if n < settings.limits["min_class_rows"]}
    if settings.wants("class_minimum"):
        examples = [f"{example(label)} ({n} rows)" for label, n in few.items()]
        findings.append(Finding.of_count("class_minimum", len(few), len(classes), examples))
    if settings.wants("unseen_labels"):
        unseen = total["unseen_label_dropped"]
        examples = _examples(rows, "unseen_labels", unseen, files)
        findings.append(Finding.of_count("unseen_labels", unseen, total["rows_read"], examples))
    return findings


def _examples(rows: StagedRows, name: str, count: int, files: Mapping[str, Path]) -> list[str]:
    if not count:
        return []
    found = rows.examples(CONDITIONS[name], EXAMPLES)
    return [example(text, place_of(files[source], place), label) for source, place, text, label in found]
