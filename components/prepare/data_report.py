"""The report on a prepared data set."""

from collections.abc import Mapping, Sequence

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.data_checks import CHAMPION_CHECKS, CHECKS, CheckSettings, Finding, checks_table
from kfp_textclf.components.common.report import Block, Facts, Figure, Share, Table, render_html

RULES = {
    "rows_read": "rows read",
    "empty_dropped": "without text or label, dropped",
    "multi_label_rows": "with several labels (a#b)",
    "duplicates_dropped": "repeating an earlier text, dropped",
    "conflicting_texts": "texts under several labels (most frequent kept)",
    "leaked_dropped": "standing in the test file too, dropped from train",
    "rare_label_dropped": "of rare labels, dropped",
    "unseen_label_dropped": "of labels never in train, dropped",
}


def data_report(
    rows: dict[str, int],
    class_counts: dict[str, dict[str, int]],
    counts: dict[str, dict[str, int]],
    tokens: Mapping[int, int],
    truncated: int,
    findings: Sequence[Finding],
    settings: CheckSettings,
) -> str:
    """Return an HTML page: rows per split, checks, what each rule changed, classes, and text lengths.

    Args:
        rows: Rows per split.
        class_counts: Rows per split and label.
        counts: Rows read and changed by each rule, per source file.
        tokens: Texts per length in tokens.
        truncated: Texts cut to the longest allowed length.
        findings: What the checks found.
        settings: Their levels and limits.
    """
    labels = sorted(class_counts["train"], key=lambda label: -class_counts["train"][label])
    histogram = [(float(length), float(tokens.get(length, 0))) for length in range(min(tokens), max(tokens) + 1)]
    mean = sum(length * count for length, count in tokens.items()) / sum(tokens.values())
    blocks: list[Block] = [
        Facts([*((f"{split} rows", count) for split, count in rows.items()), ("classes", len(labels))]),
        checks_table(findings, settings, [name for name in CHECKS if name not in CHAMPION_CHECKS]),
        Table(
            "What was read, dropped and kept",
            ("rows", *counts),
            [
                (text, *(source.get(name, 0) for source in counts.values()))
                for name, text in RULES.items()
                if any(source.get(name) for source in counts.values())
            ],
        ),
        Table(
            "Classes",
            ("label", *rows, "share of train"),
            [
                (
                    label,
                    *(class_counts[s].get(label, 0) for s in rows),
                    Share(class_counts["train"][label] / rows["train"]),
                )
                for label in labels
            ],
        ),
        Figure(
            "Text length",
            plots.to_svg(plots.curves({"tokens per text": {"texts": histogram}}, ["tokens"])),
            note=f"Longest {max(tokens)} tokens, mean {mean:.1f}; {truncated} texts were cut.",
        ),
    ]
    return render_html("Prepared data set", f"{sum(rows.values()):,} rows, {len(labels)} classes", blocks)
