"""``kfp-textclf compare``: what differs between runs, and whether their quality differs by more than chance."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.significance import ALPHA, METRICS, Comparison, compare, holm, in_words
from kfp_textclf.pipelines import dvc_runs, runs, wandb_runs
from kfp_textclf.pipelines.runs import Run

HEADLINE = METRICS[0]


def load_run(name: str, directory: Path) -> Run:
    """Find a run by whatever names it.

    Args:
        name: See `runs.FORMS`.
        directory: Where local runs lie, and those that were fetched from a cluster.

    Raises:
        UserError: There is no such run, or it is not finished or unreadable.
    """
    if name == "workspace":
        return dvc_runs.load_workspace(Path.cwd())
    if name.startswith("kfp:"):
        return _fetched_run(name, directory)
    for place in (directory / name, Path(name)) if name else ():
        if (place / runs.METRICS).is_file():
            return runs.local_run(place, name, "local")
        if wandb_runs.run_file(place):
            return wandb_runs.load(place, name)
        if (place / "pipeline.yaml").is_file():
            raise UserError(f"{place}: this run has not ended well, it has no {runs.METRICS}; see its logs")
    if name and (found := dvc_runs.load_revision(Path.cwd(), name)):
        return found
    raise UserError(f"{name!r}: there is no such run; name {runs.FORMS}")


def _fetched_run(name: str, directory: Path) -> Run:
    run_id = name.removeprefix("kfp:")
    place = directory / run_id
    if Path(run_id).name != run_id or not (place / runs.METRICS).is_file():
        raise UserError(
            f"{name}: {place / runs.METRICS} is not here; follow the run to its end with `kfp-textclf submit`"
        )
    return runs.local_run(place, name, "kfp")


def compare_runs(compared: Sequence[Run]) -> dict[str, Any]:
    """Compare each run with the first.

    Args:
        compared: At least two runs.

    Returns:
        ``runs``: name, source, metrics, judged variant, parameters and data of each. ``metrics``, ``parameters`` and
        ``data``: by name a list with the value in each run, None where it is not known; of the last two those that
        differ.
        ``significance``: for each run but the first what the paired tests say on the held-out rows that it has in
        common with the first; p values of several runs are adjusted by Holm's method.
    """
    tested = [_paired(compared[0], run) for run in compared[1:]]
    return {
        "runs": [
            {k: v for k, v in vars(run).items() if k not in ("predictions", "content")}
            | {
                "rows_predicted": len(run.predictions.answers) if run.predictions else 0,
                "judged": run.content.get("shipped", "onnx_int8"),
            }
            for run in compared
        ],
        "metrics": side_by_side([run.metrics for run in compared]),
        "parameters": _differing(side_by_side([run.params for run in compared])),
        "data": _differing(side_by_side([_data(run.dataset) for run in compared])),
        "significance": _adjusted(compared, tested),
    }


def _paired(first: Run, second: Run) -> tuple[Comparison | None, dict[str, Any]]:
    """Test two runs on the rows that both answered and whose true label they agree on."""
    silent = dict.fromkeys(f"{run.name}: {run.note}" for run in (first, second) if run.predictions is None)
    if first.predictions is None or second.predictions is None:
        return None, {"common_rows": 0, "relabelled_rows": 0, "note": "; ".join(silent)}
    common = [key for key in first.predictions.answers if key in second.predictions.answers]
    pairs = [(first.predictions.answers[key], second.predictions.answers[key]) for key in common]
    rows = [(a[0], a[1], b[1]) for a, b in pairs if a[0] == b[0]]
    facts = {"common_rows": len(rows), "relabelled_rows": len(pairs) - len(rows), "note": ""}
    if not rows:
        return None, {**facts, "note": "they have no held-out rows in common"}
    labels = {label: number for number, label in enumerate(sorted(set(chain.from_iterable(rows))))}
    truth, a, b = np.array([[labels[label] for label in row] for row in rows]).T
    return compare(truth, a, b), facts


def _adjusted(
    compared: Sequence[Run], tested: Sequence[tuple[Comparison | None, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return what the tests say, with p values adjusted over all runs that could be tested."""
    comparisons = [comparison for comparison, _ in tested if comparison]
    adjusted = {name: iter(holm([c.metrics[name].p_value for c in comparisons])) for name in METRICS}
    mcnemar = iter(holm([c.mcnemar_p for c in comparisons]))
    found = []
    for run, (comparison, facts) in zip(compared[1:], tested, strict=True):
        entry: dict[str, Any] = {"run": run.name, "against": compared[0].name, "verdict": "not tested", **facts}
        if comparison:
            entry |= asdict(comparison) | {"mcnemar_p_adjusted": next(mcnemar)}
            for name, difference in comparison.metrics.items():
                p_value = next(adjusted[name])
                words = in_words(difference.difference, p_value)
                extra = {"difference": difference.difference, "p_adjusted": p_value, "verdict": words}
                entry["metrics"][name] |= {**extra, "significant": p_value <= ALPHA}
            entry["verdict"] = entry["metrics"][HEADLINE]["verdict"]
        found.append(entry)
    return found


def _data(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a data set, flat."""
    return {
        **{key: dataset[key] for key in ("name", "git_rev", "classes") if dataset.get(key)},
        **{f"md5 of {path}": md5 for path, md5 in sorted(dataset.get("md5", {}).items())},
        **{f"{split} rows": rows for split, rows in dataset.get("rows", {}).items()},
    }


def side_by_side(columns: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the value in each column by name, in the order in which the names come up."""
    names = dict.fromkeys(chain.from_iterable(columns))
    return {name: [column.get(name) for column in columns] for name in names}


def _differing(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the rows in which two runs that know the value disagree."""
    known = {name: [value for value in values if value is not None] for name, values in rows.items()}
    return {name: rows[name] for name, values in known.items() if any(value != values[0] for value in values)}
