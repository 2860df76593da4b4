"""Choose among the candidates of a sweep."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.candidates import FAILED, RECORD, UNTRIED
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import render_html
from kfp_textclf.components.select.sweep_report import sweep_blocks


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
            "failed": states.count(FAILED),
            "best_metric": self.metric,
            "seconds": sum(candidate["seconds"] for candidate in self.ranking),
        }

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return {"winner": self.winner, "metric": self.metric, "ranking": self.ranking}


def select_best(models: Sequence[str], output: str, *, keep: int, metric: str, always: str = "") -> Selection:
    """Rank candidates by their metric on the validation rows, and take the best one's model.

    Ties rank in the order in which they were listed, so the same candidates always have the same winner. Candidates
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
    alive = [(record, directory) for record, directory in found if record["state"] != FAILED]
    failed = [record for record, _ in found if record["state"] == FAILED]
    if not alive:
        first = f"the first one: {failed[0]['name']}: {failed[0]['error']}" if failed else "there was none"
        raise UserError(f"all {len(found)} candidates of the sweep failed; {first}")
    sign = 1 if metric == "loss" else -1
    alive.sort(key=lambda pair: sign * pair[0]["metric"])  # stable: equals keep their order
    ranking = [record for record, _ in alive] + failed
    untried = alive[0][0]["state"] == UNTRIED
    kept = [record for record, _ in alive[: len(alive) if untried else keep]]
    kept += [record for record, _ in alive if record["name"] == always and record not in kept]
    winner, directory = alive[0]
    with atomic_directory(output, "select_best") as target:
        for file in sorted(directory.iterdir()):
            if file.name != MANIFEST:
                _link_or_copy(file, target / file.name)
        write_json(target / "sweep.json", {"winner": winner["name"], "metric": metric, "ranking": ranking})
    subtitle = f"{len(ranking)} candidates, judged by {metric}"
    return Selection(
        survivors=[{"name": record["name"], **record["parameters"]} for record in kept],
        winner=winner["name"],
        metric=winner["metric"],
        ranking=ranking,
        report_html=render_html("Sweep", subtitle, sweep_blocks(ranking, metric)),
    )


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
