"""What a run leaves for people and programs: ``metrics.json``, reports, drawings, and links to the models."""

import os
import shutil
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json, write_json, write_text
from kfp_textclf.components.common.candidates import SCREENED, TRAINED
from kfp_textclf.components.common.cost import Prices, usage
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.published import open_version
from kfp_textclf.components.common.report import Block, Figure, Quantity, Table, render_html
from kfp_textclf.components.common.tracking_environment import wanted_mode
from kfp_textclf.components.compare.comparison_report import comparison_blocks
from kfp_textclf.components.evaluate.evaluation_report import evaluation_blocks
from kfp_textclf.components.select.sweep_report import sweep_blocks
from kfp_textclf.pipelines.local_run import LocalRun, point_latest
from kfp_textclf.pipelines.progress import Step
from kfp_textclf.pipelines.run_record import read_record
from kfp_textclf.pipelines.run_report import run_report

MODELS = ("model", "onnx", "onnx_int8")
TRACKED = {"train": "model", "evaluate": "evaluation"}  # step: its artifact
SPLITS = ("train", "validation", "test")
RULES = (
    "empty_dropped",
    "duplicates_dropped",
    "conflicting_texts",
    "leaked_dropped",
    "rare_label_dropped",
    "unseen_label_dropped",
)


def write_results(run: LocalRun, name: str) -> dict[str, Any]:
    """Write everything that a finished run leaves in its directory, and point ``latest`` to it.

    Args:
        run: A run that ended well.
        name: Name of the data set.

    Returns:
        The content of ``metrics.json``.
    """
    evaluation = read_json(run.artifact("evaluation") / "metrics.json")
    metrics = {
        **evaluation,
        "run_id": run.directory.name,
        "state": "SUCCEEDED",
        "data_changes": read_json(run.artifact("comparison") / "comparison.json"),
        "training": read_json(run.artifact("model") / "training.json"),
        "dataset": _dataset(run, name),
        "published": _published(run, evaluation["verdict"]),
        "tracking": {step: run.metadata(name).get("tracking", {}) for step, name in TRACKED.items()},
        "arguments": run.arguments,
        "steps": [_step(step, run) for step in run.steps],
    }
    if run.pipeline == "sweep":
        metrics["sweep"] = _sweep(run)
    for pattern in ("*.png", "predictions.csv"):
        for file in run.artifact("evaluation").glob(pattern):
            shutil.copyfile(file, run.directory / file.name)
    (run.directory / "models").mkdir()
    for model in MODELS:
        _link(run.artifact(model), run.directory / "models" / model)
    if metrics["published"]:
        _place(metrics["published"]["uri"], run.directory / "models" / "published")
    title, subtitle, blocks = f"Training run: {name}", _subtitle(run, metrics), _blocks(run, metrics)
    write_text(run.directory / "report.html", render_html(title, subtitle, blocks))
    write_json(run.directory / "metrics.json", metrics)
    write_text(run.directory / "report.md", run_report([read_record(run.directory)]))
    point_latest(run.directory)
    return metrics


def _step(step: Step, run: LocalRun) -> dict[str, Any]:
    """Return how long a step took, and an estimate of what that cost; a step that was reused cost nothing."""
    trained = run.metadata("model").get("environment", {}) if step.name.startswith("train-") else {}
    seconds = 0.0 if step.cached else step.seconds
    used = usage(seconds, Prices.parse(run.arguments["prices"]), trained.get("gpus", ()))
    tried = {"candidate": step.candidate} if step.candidate else {}
    return {"name": step.name, **tried, "seconds": round(step.seconds, 3), "cached": step.cached, **used}


def _link(target: Path, link: Path) -> None:
    link.symlink_to(os.path.relpath(target, link.parent))


def _place(uri: str, path: Path) -> None:
    """Link to a published version on this machine; copy one from elsewhere, so that the run stays whole."""
    version = open_version(uri, "publish_to")
    if uri.startswith("file://"):
        _link(version, path)
    else:
        shutil.copytree(version, path)


def _dataset(run: LocalRun, name: str) -> dict[str, Any]:
    """Return what the run learned from and was judged on."""
    raw, prepared = run.metadata("raw"), run.metadata("dataset")
    roles = {run.arguments["train_file"]: "train", run.arguments["test_file"]: "test"}
    files = {
        path: {
            "md5": file["md5"],
            "size": int(file["size"]),
            "role": roles.get(path, ""),
            "rows": int(prepared["counts"].get(roles.get(path, ""), {}).get("rows_read", 0)),
        }
        for path, file in raw["files"].items()
    }
    return {
        "name": name,
        "git_rev": raw["git_rev"],
        "store": raw["store"],
        "files": files,
        "rows": {split: int(rows) for split, rows in prepared["rows"].items()},
        "classes": len(prepared["labels"]),
        "dropped": {rule: int(sum(source.get(rule, 0) for source in prepared["counts"].values())) for rule in RULES},
    }


def _published(run: LocalRun, verdict: str) -> dict[str, Any] | None:
    if verdict != "promote" or not run.arguments["publish_promoted"]:
        return None
    champion = ModelStore.open(run.arguments["publish_to"]).champion()
    return {name: champion[name] for name in ("version", "uri", "previous")} if champion else None


def _sweep(run: LocalRun) -> dict[str, Any]:
    """Return the candidates of both rounds: those trained to the end first, then those that only began.

    ``screening`` is the metric of the first round, in which all of them trained for as long.
    """
    final, screening = (read_json(run.artifact(name) / "sweep.json") for name in ("model", "screening"))
    began = {candidate["name"]: candidate for candidate in screening["ranking"]}
    ended = {candidate["name"] for candidate in final["ranking"]}
    states = {TRAINED: SCREENED}
    only_began = [{**c, "state": states.get(c["state"], c["state"])} for name, c in began.items() if name not in ended]
    screened = {name: {"screening": c["metric"]} for name, c in began.items() if c["state"] == TRAINED}
    ranking = [{**c, **screened.get(c["name"], {})} for c in (*final["ranking"], *only_began)]
    return {**final, "ranking": ranking}


def _subtitle(run: LocalRun, metrics: dict[str, Any]) -> str:
    dataset = metrics["dataset"]
    pins = ", ".join(f"{path} md5 {file['md5'][:8]}" for path, file in dataset["files"].items())
    revision = f", git {dataset['git_rev'][:12]}" if dataset["git_rev"] else ""
    published = metrics["published"]
    outcome = f"Published as version {published['version']}." if published else "Nothing was published."
    data = f"Data: {pins}{revision}, from {dataset['store']}."
    return f"{data} Base model: {run.arguments['base_model']}. {outcome}{_tracked(run, metrics)}"


def _tracked(run: LocalRun, metrics: dict[str, Any]) -> str:
    """Return where each step's figures are in W&B, or how they get there, and what kept them from it.

    Those of a reused step are where it was tracked when it ran.
    """
    said = []
    for step, tracking in metrics["tracking"].items():
        place = tracking.get("url", "")
        if "directory" in tracking:
            place = f"offline, to be sent by kfp-textclf track sync {os.path.relpath(run.directory.parent)}"
        note = tracking.get("note", "") if wanted_mode()[0] != "none" else ""
        if place or note:
            said.append(f" W&B, {step}: {'; '.join(filter(None, (place, note)))} .")
    return "".join(said)


def _blocks(run: LocalRun, metrics: dict[str, Any]) -> list[Block]:
    blocks = [*evaluation_blocks(metrics), _curves(run, metrics["training"]["log"])]
    dataset = metrics["dataset"]
    files = [(path, f["role"], f["rows"], f["md5"]) for path, f in dataset["files"].items()]
    rows = ", ".join(f"{dataset['rows'][split]:,} {split}" for split in SPLITS)
    blocks.append(
        Table(
            "Data",
            ("file", "role", "rows read", "md5"),
            files,
            f"After cleaning: {rows}; {dataset['classes']} classes.",
        )
    )
    blocks.append(_steps(metrics["steps"]))
    if "sweep" in metrics:
        blocks[2:2] = sweep_blocks(metrics["sweep"]["ranking"], metrics["sweep"]["metric"])
    blocks += comparison_blocks(metrics["data_changes"])
    blocks.append(Table("Parameters", ("parameter", "value"), _parameters(run.arguments), folded=True))
    return blocks


def _steps(steps: list[dict[str, Any]]) -> Table:
    """Return how long the steps took, and as far as prices are known what that cost."""
    rows = [
        (
            f"{step['name']} {step.get('candidate', '')}".rstrip(),
            "reused" if step["cached"] else Quantity(f"{step['seconds']:.1f} s"),
            Quantity(f"{step['energy_wh']:.2f} Wh") if "energy_wh" in step else "",
            Quantity(f"{step['cost']:.4f}") if "cost" in step else "",
        )
        for step in steps
    ]
    total = sum(step.get("cost", 0.0) for step in steps)
    note = f"Energy and cost are estimates, by the price table of the parameters: {total:.4f} in all."
    return Table("Steps", ("step", "time", "energy", "cost"), rows, note)


def _curves(run: LocalRun, log: list[dict[str, float]]) -> Figure:
    """Return the learning curves, drawn from the training's own record."""
    from kfp_textclf.components.common import plots

    drawing = plots.training_curves(log)
    plots.save_png(drawing, run.directory / "curves.png")
    last = max((entry for entry in log if "eval_loss" in entry), key=lambda entry: entry["epoch"])
    words = f"After {last['epoch']:g} epochs: validation loss {last['eval_loss']:.4f}."
    return Figure("Training", plots.to_svg(drawing), words)


def _parameters(arguments: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, str(value)) for name, value in sorted(arguments.items()) if name not in ("dataset_pin", "candidates")
    ]
