"""``kfp-textclf run``: from parameters to a finished local run."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.published import NO_CHAMPION
from kfp_textclf.components.common.report import format_bytes
from kfp_textclf.components.evaluate.evaluation_report import in_order
from kfp_textclf.pipelines.containers import check_engine
from kfp_textclf.pipelines.data_push import push_dataset
from kfp_textclf.pipelines.local_run import StepFailed, new_run_directory, run_locally
from kfp_textclf.pipelines.params import Params, load_params
from kfp_textclf.pipelines.pins import pin_dataset
from kfp_textclf.pipelines.results import write_results
from kfp_textclf.pipelines.run_record import SUCCEEDED
from kfp_textclf.pipelines.sweep_space import candidates

ARTIFACTS, STORE, CHECKPOINTS = "artifacts", "store", "checkpoints"
PUBLISHING = "publish-model"  # the step


def run_training(
    params_file: Path,
    overrides: Sequence[str],
    runs: Path,
    caching: bool = True,
    memory: str = "",
    pipeline: str = "training",
    store: str = "",
) -> None:
    """Run a pipeline and print what came of it.

    Args:
        params_file: Parameter file; relative data paths start from its directory.
        overrides: ``name=value`` settings.
        runs: Where runs, their artifacts and, by default, the published models are kept.
        caching: Reuse the results of steps that ran before with the same inputs and code.
        memory: Run every step in its container, with at most this much memory; in a process of its own when empty.
        pipeline: ``training`` or ``sweep``.
        store: URI below which data, models and checkpoints are kept, where no parameter says otherwise; the pinned
            files are copied there first, and fetched from there.

    Raises:
        UserError: A parameter or the data is unusable, or containers are wanted and cannot be had.
        SystemExit: A step failed otherwise (code 1), or the run was interrupted (code 130).
    """
    started = time.monotonic()
    root = params_file.resolve().parent
    params = load_params(params_file, overrides)
    if store:
        params = load_params(params_file, [*overrides, *kept_below(store.rstrip("/"), params)])
        for path in push_dataset(params, root, params.store):
            print(f"{path}: copied to {params.store}", file=sys.stderr)
    arguments = pipeline_arguments(params, root, runs, pipeline)
    if memory:
        check_engine(memory)
    name = Path(params.dataset).stem
    directory = new_run_directory(runs, name)
    print(f"{name}: {directory}", file=sys.stderr)
    try:
        run = run_locally(directory, runs.resolve() / ARTIFACTS, arguments, caching, memory, pipeline)
    except StepFailed as error:
        print(f"{error}\nRun the same command again to continue from here.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to continue from here.", file=sys.stderr)
        sys.exit(130)
    metrics = write_results(run, name)
    print(summary(metrics, directory, time.monotonic() - started))


def kept_below(store: str, params: Params) -> list[str]:
    """Return the settings that keep everything below one URI, for what has no place yet."""
    places = {
        "store": (params.store, "data"),
        "publish.publish_to": (params.publish.publish_to, f"models/{Path(params.dataset).stem}"),
        "train.checkpoint_uri": (params.train.checkpoint_uri, "checkpoints"),
    }
    return [f"{name}={store}/{place}" for name, (set_already, place) in places.items() if not set_already]


def pipeline_arguments(
    params: Params, root: Path, runs: Path, pipeline: str = "training", on_cluster: bool = False
) -> dict[str, Any]:
    """Return all arguments of a pipeline.

    Args:
        params: Validated parameters.
        root: What relative data paths start from.
        runs: Where earlier runs lie.
        pipeline: ``training`` or ``sweep``.
        on_cluster: With those of the cluster; without checkpoints, unless there is a place for them; to beat the
            champion of then, as a recurring run goes on with its arguments.
    """
    pin, file_arguments = pin_dataset(params.files(), root, params.store)
    arguments = {**params.arguments(), **file_arguments, "dataset_pin": pin}
    if pipeline == "sweep":
        sweep = {"candidates": candidates(params), **params.sweep.model_dump(include={"screening_epochs", "keep"})}
        arguments = {name: value for name, value in arguments.items() if name not in sweep["candidates"][0]}
        kept = {"base_model": params.base_model, "seed": params.seed}
        arguments |= {**sweep, **kept, "metric_for_best_model": params.train.metric_for_best_model}
        del arguments["processes"]  # of a candidate: one for each GPU
    if not arguments["publish_to"]:
        arguments["publish_to"] = (runs.resolve() / STORE / Path(params.dataset).stem).as_uri()
    if on_cluster:
        arguments |= params.cluster.model_dump()
    elif not arguments["checkpoint_uri"]:
        arguments["checkpoint_uri"] = (runs.resolve() / CHECKPOINTS).as_uri()
    arguments["champion_uri"] = "" if on_cluster else _champion_to_beat(arguments, runs)
    return arguments


def _champion_to_beat(arguments: dict[str, Any], runs: Path) -> str:
    """Return the champion's URI, or ``none``; what made the champion is, repeated, judged against the one before it.

    Otherwise running the same thing twice would compare a model with itself. A run that ended between publishing and
    its result has made it, too.
    """
    store = ModelStore.open(arguments["publish_to"])
    champion = store.champion()
    if not champion:
        return NO_CHAMPION
    for file in sorted(runs.glob("*/metrics.json"), reverse=True):
        try:
            earlier = read_json(file)
            before = earlier["arguments"]["champion_uri"]
            same = {**earlier["arguments"], "champion_uri": ""} == {**arguments, "champion_uri": ""}
            made = (earlier.get("published") or {}).get("version") == champion["version"]
            ended = {step["name"] for step in earlier["steps"] if step.get("state") == SUCCEEDED}
        except (UserError, AttributeError, LookupError, TypeError):  # of another release, or damaged
            continue
        killed = PUBLISHING in ended and before == (champion["previous"] or NO_CHAMPION)
        if same and (made or killed):
            return before
    return store.uri_of(champion["version"])  # as the store is called now


def summary(metrics: dict[str, Any], directory: Path, seconds: float) -> str:
    """Return the table that ends a run on the terminal."""
    header = f"{'model':<12}{'accuracy':>10}{'macro F1':>10}{'MCC':>10}{'size':>12}{'p50 ms':>9}{'rows/s':>9}"
    lines = ["", header]
    for name, figures in in_order(metrics["variants"]):
        quality = "".join(f"{figures[metric]:>10.4f}" for metric in ("accuracy", "macro_f1", "matthews_correlation"))
        speed = f"{figures['latency_ms_p50']:>9.2f}{figures['rows_per_second']:>9.0f}"
        lines.append(f"{name:<12}{quality}{format_bytes(figures['size_bytes']):>12}{speed}")
    for name, figures in metrics["baselines"].items():
        quality = "".join(f"{figures[metric]:>10.4f}" for metric in ("accuracy", "macro_f1", "matthews_correlation"))
        lines.append(f"{name:<12}{quality}")
    if metrics.get("sweep"):
        lines += ["", sweep_summary(metrics["sweep"])]
    lines += ["", f"{metrics['verdict']}: {metrics['reason']}"]
    if metrics["published"]:
        model = directory / "models" / "published"
        command = f'{os.path.relpath(sys.argv[0])} predict {os.path.relpath(model)} "some text"'
        lines.append(f"published {metrics['published']['version']}; try: {command}")
    else:
        lines.append("nothing was published")
    lines.append(f"report {os.path.relpath(directory / 'report.html')} ({seconds:.0f} s)")
    return "\n".join(lines)


def sweep_summary(sweep: dict[str, Any]) -> str:
    """Return a line on who won, and one for each candidate that failed."""
    ranking = sweep["ranking"]
    failed = [candidate for candidate in ranking if candidate["state"] == "failed"]
    lines = [f"winner: {sweep['winner']}, {sweep['metric']} {ranking[0]['metric']:.4f} on the validation rows"]
    if failed:
        lines.append(f"{len(failed)} of {len(ranking)} candidates failed:")
    return "\n".join([*lines, *(f"  {candidate['name']}: {candidate['error']}" for candidate in failed)])
