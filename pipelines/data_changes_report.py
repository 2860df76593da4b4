"""What changed between two versions of a data set, as blocks of a report."""

from collections.abc import Mapping

from kfp_textclf.components.common.report import Block, Quantity, Share, Table
from kfp_textclf.pipelines.data_changes import FileChanges

MOST_LABELS, MOST_MOVES, MOST_CHARACTERS = 100, 20, 200


def change_blocks(changes: Mapping[str, FileChanges]) -> list[Block]:
    """Return tables of the changes of each file, by its role in the data set."""
    blocks: list[Block] = [_overview(changes)]
    for role, change in changes.items():
        blocks.append(_labels(role, change))
        if change.moves:
            rows = [(old, new, count) for old, new, count in change.moves[:MOST_MOVES]]
            note = _left_out(len(change.moves), MOST_MOVES, "pairs of labels")
            blocks.append(Table(f"{role}: relabelled texts", ("label before", "label now", "texts"), rows, note))
        examples = [
            *(("relabelled", _short(text), f"{old} → {new}") for text, old, new in change.relabelled_examples),
            *(("new", _short(text), label) for text, label in change.added_examples),
            *(("removed", _short(text), label) for text, label in change.removed_examples),
        ]
        if examples:
            blocks.append(Table(f"{role}: examples", ("change", "text", "label"), examples))
    return blocks


def _overview(changes: Mapping[str, FileChanges]) -> Table:
    rows = []
    for role, change in changes.items():
        old, new = change.old, change.new
        rows += [
            (role, "rows", old.rows, new.rows, _signed(new.rows - old.rows)),
            (role, "rows without text or label", old.empty, new.empty, _signed(new.empty - old.empty)),
            (role, "classes", len(old.labels), len(new.labels), _signed(len(new.labels) - len(old.labels))),
            (role, "different texts", old.texts, new.texts, _signed(new.texts - old.texts)),
            (role, "new texts", "", change.added, ""),
            (role, "removed texts", change.removed, "", ""),
            (role, "relabelled texts", "", change.relabelled, ""),
        ]
    return Table("Changes", ("file", "", "before", "now", "change"), rows)


def _labels(role: str, change: FileChanges) -> Table:
    """Return the labels by how much their share moved."""
    old, new = change.old, change.new
    rows = []
    for label in {**new.labels, **old.labels}:
        before, now = old.labels.get(label, 0), new.labels.get(label, 0)
        shares = before / max(1, old.rows), now / max(1, new.rows)
        points = Quantity(f"{100 * (shares[1] - shares[0]):+.1f}")
        rows.append((label, before, now, _signed(now - before), Share(shares[0]), Share(shares[1]), points))
    rows.sort(key=lambda row: (-abs(row[5].value - row[4].value), -row[2], row[0]))
    columns = ("label", "rows before", "rows now", "change", "share before", "share now", "points")
    note = _left_out(len(rows), MOST_LABELS, "labels")
    return Table(f"{role}: labels", columns, rows[:MOST_LABELS], note, folded=len(rows) > 30)


def _signed(number: int) -> Quantity:
    return Quantity(f"{number:+,}" if number else "0")


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _left_out(count: int, shown: int, what: str) -> str:
    return f"{count - shown:,} more {what} are not shown." if count > shown else ""
