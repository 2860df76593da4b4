"""The report on a sweep."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from kfp_textclf.components.common.candidates import FAILED, TRAINED
from kfp_textclf.components.common.report import Block, Figure, Table, Verdict


def sweep_blocks(ranking: Sequence[dict[str, Any]], metric: str) -> list[Block]:
    """Return the winner, a table of the candidates, the metric by parameter, and how much each parameter matters."""
    from kfp_textclf.components.common import plots

    names = swept(ranking)
    failed = [candidate for candidate in ranking if candidate["state"] == FAILED]
    trained = [candidate for candidate in ranking if candidate["state"] == TRAINED]
    best = ranking[0]
    outcome = f"{metric} {best['metric']:.4f} on the validation rows" if trained else "nothing was trained yet"
    lost = f"; {len(failed)} of {len(ranking)} candidates failed: {', '.join(c['name'] for c in failed)}"
    rows = [
        (
            candidate["name"],
            *(str(candidate["parameters"].get(name, "")) for name in names),
            candidate["metric"] if candidate["state"] == TRAINED else candidate["state"],
            f"{candidate['seconds']:.1f} s",
            candidate["error"],
        )
        for candidate in ranking
    ]
    blocks: list[Block] = [
        Verdict(f"Winner: {best['name']}", outcome + (lost if failed else ""), good=not failed),
        Table("Candidates, the best first", ("candidate", *names, metric, "trained for", "error"), rows),
    ]
    if trained and names:
        panels = {name: [(str(c["parameters"].get(name)), c["metric"]) for c in trained] for name in names}
        blocks.append(Figure("Metric by parameter", plots.to_svg(plots.scatters(panels, metric))))
        shares = [(name, f"{share:.0%}") for name, share in importance(ranking).items()]
        note = "Share of the metric's variance that the means of equal values explain (eta squared)."
        blocks.append(Table("Importance of the parameters", ("parameter", "share"), shares, note))
    return blocks


def importance(ranking: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how much of the spread of the metric each parameter explains, from 0 to 1, the largest first.

    That is the correlation ratio (eta squared): the variance of the means of the groups with the same value, over the
    variance of all. With few candidates it is a hint at best, and parameters that changed together share the credit.

    Args:
        ranking: Candidates; those that were not trained are left out.
    """
    trained = [candidate for candidate in ranking if candidate["state"] == TRAINED]
    metrics = np.array([candidate["metric"] for candidate in trained])
    spread = float(metrics.var()) if len(trained) > 1 else 0.0
    found = {}
    for name in swept(ranking):
        groups = defaultdict(list)
        for candidate in trained:
            groups[str(candidate["parameters"].get(name))].append(candidate["metric"])
        between = sum(len(group) * (np.mean(group) - metrics.mean()) ** 2 for group in groups.values())
        found[name] = float(between / len(trained) / spread) if spread else 0.0
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def swept(ranking: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the parameters that differ among candidates."""
    names = sorted({name for candidate in ranking for name in candidate["parameters"]})
    return [name for name in names if len({str(c["parameters"].get(name)) for c in ranking}) > 1]
