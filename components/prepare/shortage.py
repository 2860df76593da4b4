"""Too few rows to learn from: refused in a line that says how many were read and where the others went."""

from collections import Counter

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.staged_rows import StagedRows

SWAPPED = (
    "most labels are longer than their texts: if they are swapped, set column_order, or text_column and label_column"
)


def require_rows(
    rows: StagedRows, source: str, name: str, labels: Counter[str], counts: Counter[str], min_examples: int
) -> None:
    """Refuse a file of which no row is left, or no training rows that can be split and learned from.

    Args:
        rows: The staged rows, duplicates merged.
        source: ``train`` or ``test``.
        name: The file.
        labels: Rows left of each label.
        counts: How many rows were read, and how many were dropped because text or label is empty.
        min_examples: Labels with fewer training rows are dropped.

    Raises:
        UserError: Too little is left; the message counts the rows by what dropped them.
    """
    if labels and (source == "test" or (len(labels) > 1 and max(labels.values()) > 1)):
        return
    read, left, gone = counts["rows_read"], labels.total(), _dropped(rows, source, counts, min_examples)
    if read == counts["empty_dropped"]:
        raise UserError(f"{name}: no usable row of {read} read; each needs a text and a label")
    if not labels:
        problem = f"no usable row of {read} read: {gone}"
    else:
        few = f"{left} rows of {len(labels)} labels: too few to split; every label has a single row"
        one = f"{left} usable rows of 1 label; a classifier needs 2 labels or more"
        problem = (one if len(labels) == 1 else few) + (f" ({read} read: {gone})" if gone else "")
    longer = rows.staged("source = ? AND length(label) > length(text)", source)
    swapped = 2 * longer > rows.staged("source = ?", source)
    fix = SWAPPED if swapped else "add rows, or change what drops them" if gone else "add rows"
    raise UserError(f"{name}: {problem}; {fix}")


def _dropped(rows: StagedRows, source: str, counts: Counter[str], min_examples: int) -> str:
    """Return how many rows of a source each rule took away."""
    staged, fates = rows.staged("source = ?", source), rows.fates(source)
    gone = {
        "without text or label": counts["empty_dropped"],
        "of several labels (multi_label=drop)": counts["rows_read"] - counts["empty_dropped"] - staged,
        "repeating an earlier text": staged - fates.total(),
        "standing in the test file too": fates["leaked"],
        "held out (test_fraction)": fates["test"] if source == "train" else 0,
        f"of labels with fewer than {min_examples} rows (min_examples)": fates["rare_label"],
        "of labels never in train (unseen_labels=drop)": fates["unseen_label"],
    }
    return ", ".join(f"{count} {what}" for what, count in gone.items() if count)
