"""Choose among the candidates of a sweep."""

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block, Facts, Figure, Table, Verdict, render_html

RECORD = "candidate.json"


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        survivors: The best candidates, best first, as the next round takes them.
        winner: Name of the best one.
        metric: Its value on the validation rows.
        ranking: Every candidate: name, parameters, state, metric, seconds, error; best first, failed ones last.
    """

    survivors: list[dict[str, Any]]
    winner: str
    metric: float
    ranking: list[dict[str, Any]]
    report_html: str = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs."""
        states = [candidate["state"] for candidate in self.ranking]
        return {
            "candidates": len(states),
            "failed": states.count("failed"),
            "best_metric": self.metric,
            "seconds": sum(candidate["seconds"] for candidate in self.ranking),
        }

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return {"winner": self.winner, "metric": self.metric, "ranking": self.ranking}


def select_best(models: Sequence[str], output: str, *, keep: int, metric: str, always: str = "") -> Selection:
    """Rank candidates by their metric on the validation rows, and take the best one's model.

    Equals rank in the order in which they were listed, so the same candidates always have the same winner. Candidates
    that failed are named and left out.

    Args:
        models: Directories of the candidates, as ``train_candidate`` leaves them, in order.
        output: Directory to write: the winner's model.
        keep: How many survive into the next round.
        metric: What was measured; of ``loss`` less is better.
        always: Name of a candidate that survives whatever its rank, as long as it did not fail.

    Raises:
        UserError: No candidate is left.
    """
    if keep < 1:
        raise UserError(f"keep={keep}: must be 1 or more")
    directories = [verified(model) for model in models]
    found = [(read_json(directory / RECORD), directory) for directory in directories]
    alive = [(record, directory) for record, directory in found if record["state"] != "failed"]
    failed = [record for record, _ in found if record["state"] == "failed"]
    if not alive:
        first = f"the first one: {failed[0]['name']}: {failed[0]['error']}" if failed else "there was none"
        raise UserError(f"all {len(found)} candidates of the sweep failed; {first}")
    sign = 1 if metric == "loss" else -1
    alive.sort(key=lambda pair: sign * pair[0]["metric"])  # stable: equals keep their order
    ranking = [record for record, _ in alive] + failed
    untried = alive[0][0]["state"] == "untried"
    kept = [record for record, _ in alive[: len(alive) if untried else keep]]
    kept += [record for record, _ in alive if record["name"] == always and record not in kept]
    winner, directory = alive[0]
    with atomic_directory(output, "select_best") as target:
        for file in sorted(directory.iterdir()):
            if file.name != "manifest.json":
                _link_or_copy(file, target / file.name)
        write_json(target / "sweep.json", {"winner": winner["name"], "metric": metric, "ranking": ranking})
    return Selection(
        survivors=[{"name": record["name"], **record["parameters"]} for record in kept],
        winner=winner["name"],
        metric=winner["metric"],
        ranking=ranking,
        report_html=render_html("Sweep", f"{len(ranking)} candidates, judged by {metric}", _blocks(ranking, metric)),
    )


def importance(ranking: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return how much of the spread of the metric each parameter explains, from 0 to 1, the largest first.

    That is the correlation ratio (eta squared): the variance of the means of the groups with the same value, over the
    variance of all. With few candidates it is a hint at best, and parameters that changed together share the credit.

    Args:
        ranking: Candidates; those that were not trained are left out.
    """
    trained = [candidate for candidate in ranking if candidate["state"] == "trained"]
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


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _blocks(ranking: list[dict[str, Any]], metric: str) -> list[Block]:
    from kfp_textclf.components.common import plots

    names = swept(ranking)
    failed = [candidate for candidate in ranking if candidate["state"] == "failed"]
    trained = [candidate for candidate in ranking if candidate["state"] == "trained"]
    best = ranking[0]
    outcome = f"{metric} {best['metric']:.4f} on the validation rows" if trained else "nothing was trained yet"
    lost = f"; {len(failed)} of {len(ranking)} candidates failed: {', '.join(c['name'] for c in failed)}"
    rows = [
        (
            candidate["name"],
            *(str(candidate["parameters"].get(name, "")) for name in names),
            candidate["metric"] if candidate["state"] == "trained" else candidate["state"],
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
    blocks.append(Facts([("candidates", len(ranking)), ("failed", len(failed))]))
    return blocks
