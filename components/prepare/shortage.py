"""Too few rows to learn from: refused in a line that says how many were read and where the others went."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.staged_rows import StagedRows

SWAPPED = (
    "most labels are longer than their texts: if they are swapped, set column_order, or text_column and label_column"
)


@dataclass(frozen=True)
class Shortage:
    """Refuses what is left when it is too little; each message counts the rows by what dropped them.

    Attributes:
        rows: The staged rows, duplicates merged.
        counts: Per source how many rows were read, and how many were dropped because text or label is empty.
        names: The file of each source.
        min_examples: Labels with fewer training rows are dropped.
    """

    rows: StagedRows
    counts: Mapping[str, Counter[str]]
    names: Mapping[str, str]
    min_examples: int

    def require_rows(self, source: str, labels: Counter[str]) -> None:
        """Refuse a source without a row, and training rows of one label (``UserError``).

        Args:
            source: ``train`` or ``test``.
            labels: Rows left of each label.
        """
        read = self.counts[source]["rows_read"]
        if not labels and read == self.counts[source]["empty_dropped"]:
            raise UserError(f"{self.names[source]}: no usable row of {read} read; each needs a text and a label")
        if not labels:
            raise self._error(source, f"no usable row of {read} read", ": {}")
        if source == "train" and len(labels) < 2:
            one = f"{labels.total()} usable rows of 1 label; a classifier needs 2 labels or more"
            raise self._error(source, one, f" ({read} read: {{}})")

    def require_split(self, labels: Counter[str]) -> None:
        """Refuse training rows of which none can be moved to another split (``UserError``)."""
        if max(labels.values()) < 2:
            few = f"{labels.total()} rows of {len(labels)} labels: too few to split; every label has a single row"
            raise self._error("train", few, f" ({self.counts['train']['rows_read']} read: {{}})")

    def _error(self, source: str, problem: str, account: str) -> UserError:
        gone = self._dropped(source)
        longer = self.rows.staged("source = ? AND length(label) > length(text)", source)
        swapped = 2 * longer > self.rows.staged("source = ?", source)
        fix = SWAPPED if swapped else "add rows, or change what drops them" if gone else "add rows"
        return UserError(f"{self.names[source]}: {problem}{account.format(gone) if gone else ''}; {fix}")

    def _dropped(self, source: str) -> str:
        """Return how many rows of a source each rule took away."""
        counts, staged, fates = self.counts[source], self.rows.staged("source = ?", source), self.rows.fates(source)
        gone = {
            "without text or label": counts["empty_dropped"],
            "of several labels (multi_label=drop)": counts["rows_read"] - counts["empty_dropped"] - staged,
            "repeating an earlier text": staged - fates.total(),
            "standing in the test file too": fates["leaked"],
            "held out (test_fraction)": fates["test"] if source == "train" else 0,
            f"of labels with fewer than {self.min_examples} rows (min_examples)": fates["rare_label"],
            "of labels never in train (unseen_labels=drop)": fates["unseen_label"],
        }
        return ", ".join(f"{count} {what}" for what, count in gone.items() if count)
