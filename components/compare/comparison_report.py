"""What changed since the champion's data, as blocks of a report."""

from collections.abc import Sequence
from typing import Any

from kfp_textclf.components.common.data_checks import CHAMPION_CHECKS, CheckSettings, Finding, checks_table
from kfp_textclf.components.common.report import Block, Facts, Share, Table, render_html

TITLE = "What changed since the champion's data"


def comparison_page(changes: dict[str, Any], findings: Sequence[Finding], settings: CheckSettings) -> str:
    """Return the HTML page of a comparison: what changed, and what each check found."""
    blocks = [*comparison_blocks(changes), checks_table(findings, settings, CHAMPION_CHECKS)]
    return render_html("Data against the champion's", changes["champion"] or "no champion", blocks)


def comparison_blocks(changes: dict[str, Any]) -> list[Block]:
    """Return the blocks that show a ``comparison.json``; none when there was no champion to compare with."""
    if not changes["champion"]:
        return []
    missing = ", ".join(changes["missing"])
    blocks: list[Block] = [_versions(changes, f"The champion does not carry {missing}." if missing else "")]
    texts = changes["texts"]
    if texts:
        about = "" if texts["exact"] else "about "
        kinds = ("new", "removed", "relabelled", "common")
        blocks.append(Facts([(f"{kind} texts", f"{about}{texts[kind]:,}") for kind in kinds]))
    if changes["dataset"]["before"]:
        blocks.append(_classes(changes["classes"]))
    examples = [(kind, text) for kind in ("new", "relabelled") for text in changes["examples"].get(kind, ())]
    if examples:
        blocks.append(Table("Some of these texts", ("", "text"), examples))
    return blocks


def _versions(changes: dict[str, Any], note: str) -> Table:
    before, now = changes["dataset"]["before"], changes["dataset"]["now"]
    rows = [("git revision", (before or {}).get("git_rev") or "unknown", now["git_rev"] or "unknown")]
    earlier = before["files"] if before else {}
    for name in sorted({*earlier, *now["files"]}):
        rows.append((name, _version(earlier.get(name)), _version(now["files"].get(name))))
    for split, (count_before, count_now) in changes["rows"].items():
        rows.append((f"{split} rows", "unknown" if count_before is None else f"{count_before:,}", f"{count_now:,}"))
    return Table(TITLE, ("", "champion", "now"), rows, note)


def _version(file: dict[str, Any] | None) -> str:
    if not file:
        return "none"
    return f"md5 {file['md5'][:12]}" if "md5" in file else f"sha256 {file['sha256'][:12]}"


def _classes(classes: Sequence[dict[str, Any]]) -> Table:
    """Return rows per label, those whose share moved most first."""
    totals = [sum(row[when] for row in classes) for when in ("before", "now")]
    shares = {row["label"]: (row["before"] / totals[0], row["now"] / totals[1]) for row in classes}
    ordered = sorted(classes, key=lambda row: (-abs(shares[row["label"]][1] - shares[row["label"]][0]), row["label"]))
    rows = [
        (row["label"], row["before"], row["now"], *(Share(share) for share in shares[row["label"]])) for row in ordered
    ]
    return Table("Labels", ("label", "rows before", "rows now", "share before", "share now"), rows)
