"""Rows of a test, cleaned and split by the real parts."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage_inputs import as_csv

from kfp_textclf.components.common.data_checks import CheckSettings
from kfp_textclf.components.prepare.readers import Columns
from kfp_textclf.components.prepare.row_checks import RowChecks
from kfp_textclf.components.prepare.selection import select_rows, stage_file
from kfp_textclf.components.prepare.staged_rows import StagedRows, staged_rows

Rows = Sequence[tuple[str, str]]  # text, label


@contextmanager
def staged(directory: Path, seed: int = 13, multi_label: str = "keep", **sources: Rows) -> Iterator["Staged"]:
    """Stage the rows of ``train`` and, if given, of ``test``, and merge duplicates."""
    files = {}
    for source, rows in sources.items():
        files[source] = directory / f"{source}.csv"
        files[source].write_bytes(as_csv([(label, text) for text, label in rows], quoting=1))
    with staged_rows(directory / "out", seed) as table:
        checks = RowChecks(CheckSettings.parse(dict.fromkeys(CheckSettings.parse().levels, "off")))
        columns = Columns(header="absent")
        counts = {s: stage_file(table, s, path, columns, multi_label, checks) for s, path in files.items()}
        counts.setdefault("test", Counter())
        yield Staged(table, counts, {source: path.name for source, path in files.items()})


@dataclass
class Staged:
    """Staged rows, what was counted, and the names of the files."""

    table: StagedRows
    counts: dict[str, Counter[str]]
    names: dict[str, str]

    def select(self, **options: Any) -> Counter[str]:
        """Clean and split by the rules."""
        usual = {"min_examples": 1, "unseen_labels": "error", "validation_fraction": 0.1, "test_fraction": 0.1}
        return select_rows(self.table, self.counts, self.names, **{**usual, **options})

    def rows(self) -> dict[str, list[tuple[str, str]]]:
        """Return the kept rows of each split."""
        kept: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
        for split, text, label in self.table.kept():
            kept[split].append((text, label))
        return kept
