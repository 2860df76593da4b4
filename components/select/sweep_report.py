"""The report on a sweep."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from kfp_textclf.components.common.candidates import FAILED, TRAINED
from kfp_textclf.components.common.report import Block, Figure, Quantity, Table, Verdict


def sweep_blocks(ranking: Sequence[dict[str, Any]], metric: str) -> list[Block]:
    """Return the winner, a table of the candidates, the metric by parameter, and how much each parameter matters."""
    from kfp_textclf.components.common import plots

    failed = [candidate for candidate in ranking if candidate["state"] == FAILED]
    trained = [candidate for candidate in ranking if candidate["state"] == TRAINED]
    best = ranking[0]
    outcome = f"{metric} {best['metric']:.4f} on the validation rows" if trained else "nothing was trained yet"
    lost = f"; {len(failed)} of {len(ranking)} candidates failed: {', '.join(c['name'] for c in failed)}"
    blocks: list[Block] = [
        Verdict(f"Winner: {best['name']}", outcome + (lost if failed else ""), good=True),
        candidates_table(ranking, metric),
    ]
    if values := _values(ranking):
        panels = {name: [(_shown(c["parameters"].get(name)), value) for c, value in values] for name in swept(ranking)}
        title = "Metric by parameter, screening" if "screening" in best else "Metric by parameter"
        blocks += [Figure(title, plots.to_svg(plots.scatters(panels, metric)))] if panels else []
        shares = [(name, f"{share:.0%}") for name, share in importance(ranking).items()]
        note = "Share of the metric's variance that the means of equal values explain (eta squared)."
        blocks += [Table("Importance of the parameters", ("parameter", "share"), shares, note)] if shares else []
    return blocks


def candidates_table(ranking: Sequence[dict[str, Any]], metric: str) -> Table:
    """Return the candidates: parameters that differ, metric of each round, time, and what became of them."""
    names = swept(ranking)
    screened = any("screening" in candidate for candidate in ranking)
    rows = [
        (
            candidate["name"],
            *(_shown(candidate["parameters"].get(name, "")) for name in names),
            *([_figure(candidate.get("screening"))] if screened else []),
            _figure(candidate["metric"] if candidate["state"] == TRAINED else None),
            Quantity(f"{candidate['seconds']:.1f} s"),
            candidate["error"] or candidate["state"],
        )
        for candidate in ranking
    ]
    columns = ("candidate", *names, *(["screening"] if screened else []), metric, "trained for", "")
    return Table("Candidates, the best first", columns, rows)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _figure(value: float | None) -> Quantity:
    return Quantity("" if value is None else f"{value:.4f}")


def _values(ranking: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], float]]:
    """Return candidates with the metric of the round in which most of them trained, all for as long."""
    screened = [(candidate, candidate["screening"]) for candidate in ranking if "screening" in candidate]
    return screened or [(candidate, candidate["metric"]) for candidate in ranking if candidate["state"] == TRAINED]


def importance(ranking: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how much of the spread of the metric each parameter explains, from 0 to 1, the largest first.

    That is the correlation ratio (eta squared): the variance of the means of the groups with the same value, over the
    variance of all. With few candidates it is a hint at best, and parameters that changed together share the credit.

    Args:
        ranking: Candidates; those without a metric are left out.
    """
    values = _values(ranking)
    metrics = np.array([value for _, value in values])
    spread = float(metrics.var()) if len(values) > 1 else 0.0
    found = {}
    for name in swept(ranking):
        groups = defaultdict(list)
        for candidate, value in values:
            groups[str(candidate["parameters"].get(name))].append(value)
        between = sum(len(group) * (np.mean(group) - metrics.mean()) ** 2 for group in groups.values())
        found[name] = float(between / len(values) / spread) if spread else 0.0
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def swept(ranking: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the parameters that differ among candidates."""
    names = sorted({name for candidate in ranking for name in candidate["parameters"]})
    return [name for name in names if len({str(c["parameters"].get(name)) for c in ranking}) > 1]
