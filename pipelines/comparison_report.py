"""A comparison of runs for people: on the terminal and as a page."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from string import ascii_uppercase
from typing import Any

from kfp_textclf.components.common.report import (
    Block,
    Quantity,
    Table,
    Verdict,
    format_cell,
    render_html,
)
from kfp_textclf.components.common.significance import METRICS
from kfp_textclf.components.evaluate.evaluation_report import METRIC_NAMES, VARIANT_NAMES
from kfp_textclf.pipelines.compare import side_by_side


def in_text(comparison: dict[str, Any]) -> str:
    """Return a comparison as text: runs, metrics, parameters and data that differ, and significance last."""
    runs = comparison["runs"]
    parts = [[f"{letter(i)}  {run['name']} ({run['source']})" for i, run in enumerate(runs)]]
    header = ["", *map(letter, range(len(runs)))]
    for title, rows in (
        ("metrics of the judged variant", _metric_rows(comparison)),
        ("parameters that differ", _rows(comparison["parameters"])),
        ("data that differ", _rows(comparison["data"])),
    ):
        parts.append(_columns([[title, *header[1:]], *rows]) if rows else [f"{title}: none"])
    parts.append([sentence(entry, i, len(runs)) for i, entry in enumerate(comparison["significance"], start=1)])
    return "\n\n".join("\n".join(part) for part in parts)


def in_html(comparison: dict[str, Any]) -> str:
    """Return a comparison as a page that needs no network."""
    runs = comparison["runs"]
    header = ["", *map(letter, range(len(runs)))]
    described = [(letter(i), run["name"], run["source"], run["note"]) for i, run in enumerate(runs)]
    blocks: list[Block] = [Table("Runs", ("", "run", "found in", "note"), described)]
    for i, entry in enumerate(comparison["significance"], start=1):
        good = entry["verdict"] not in ("significantly worse", "not tested")
        blocks.append(Verdict(f"{letter(i)} against A: {entry['verdict']}", sentence(entry, i, len(runs)), good))
        if "metrics" in entry:
            blocks.append(_tests(entry, i))
    blocks.append(Table("Metrics of the judged variant", header, _metric_rows(comparison)))
    for title, values in (
        ("Parameters that differ", comparison["parameters"]),
        ("Data that differ", comparison["data"]),
    ):
        blocks.append(Table(title, header, _rows(values), "" if values else "None."))
    return render_html("Comparison of runs", f"{len(runs)} runs, each against A.", blocks)


def letter(number: int) -> str:
    """Return what a run is called in a comparison: A to Z, then A1 and so on."""
    turn, place = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(turn) if turn else "")


def sentence(entry: dict[str, Any], number: int, runs: int) -> str:
    """Return what the tests say of a run, in plain words."""
    who = f"{letter(number)} against A"
    if "metrics" not in entry:
        return f"{who}: not tested, {entry['note']}"
    metric = entry["metrics"][METRICS[0]]
    relabelled = f" ({entry['relabelled_rows']:,} more were relabelled)" if entry["relabelled_rows"] else ""
    holm = ", adjusted for several runs" if runs > 2 else ""
    return (
        f"{who}, on {entry['common_rows']:,} common held-out rows{relabelled}: {entry['verdict']} "
        f"(MCC {metric['first']:.4f} to {metric['second']:.4f}: {metric['difference']:+.4f}, 95 % interval "
        f"{metric['low']:+.4f} to {metric['high']:+.4f}, p {metric['p_adjusted']:.2g}{holm}; right only in A "
        f"{entry['only_first_right']:,}, only in {letter(number)} {entry['only_second_right']:,}, "
        f"McNemar p {entry['mcnemar_p_adjusted']:.2g})"
    )


def _tests(entry: dict[str, Any], number: int) -> Table:
    rows = [
        (
            METRIC_NAMES[name],
            found["first"],
            found["second"],
            Quantity(f"{found['difference']:+.4f}"),
            Quantity(f"{found['low']:+.4f} to {found['high']:+.4f}"),
            found["p_adjusted"],
            found["verdict"],
        )
        for name, found in entry["metrics"].items()
    ]
    columns = ("metric", "A", letter(number), "difference", "95 % interval", "p", "")
    note = (
        f"Paired bootstrap on {entry['common_rows']:,} common rows. It says what other rows would change, not what "
        "another seed of the training would."
    )
    return Table(f"{letter(number)} against A", columns, rows, note)


def _metric_rows(comparison: dict[str, Any]) -> list[list[str]]:
    """Return the figures of the judged variant, and those that belong to no variant, with differences to A."""
    judged = [run["judged"] for run in comparison["runs"]]
    rows = [["variant", *(VARIANT_NAMES.get(variant, variant) for variant in judged)]] if len(set(judged)) > 1 else []
    for name, values in side_by_side([_judged(run) for run in comparison["runs"]]).items():
        first, *others = values
        cells = [_value(first)]
        for other in others:
            change = "" if first is None or other is None else f" ({_signed(other - first)})"
            cells.append(_value(other) + change)
        rows.append([name, *map(Quantity, cells)])
    return rows


def _judged(run: dict[str, Any]) -> dict[str, float]:
    """Return the figures of a run by their names; those of other variants are in the JSON."""
    named = {name: name.partition(".") for name in run["metrics"]}
    return {
        rest if variant == run["judged"] else name: run["metrics"][name]
        for name, (variant, _, rest) in named.items()
        if variant == run["judged"] or variant not in VARIANT_NAMES
    }


def _rows(values: dict[str, list[Any]]) -> list[list[str]]:
    return [[name, *map(_exact, row)] for name, row in values.items()]


def _exact(value: Any) -> str:
    """Return a parameter as it is, and the first digits of a hash."""
    text = "-" if value is None else str(value)
    return text[:12] if re.fullmatch(r"[0-9a-f]{32}|[0-9a-f]{40}", text) else text


def _value(value: Any) -> str:
    return "-" if value is None else format_cell(value)


def _signed(difference: float) -> str:
    return f"{'+' if difference >= 0 else '-'}{_value(abs(difference))}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines whose cells stand below each other."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
