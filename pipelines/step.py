"""One step of the training pipeline on files of the checkout, as ``dvc.yaml`` runs it.

    python -m kfp_textclf.pipelines.step prepare

Which step reads whose outputs, and which parameters it takes, is read from the compiled pipeline: there is no second
graph. Artifacts lie under ``outputs/<step>/``.
"""

import csv
import os
import sys
from pathlib import Path
from typing import Any

import yaml

from kfp_textclf import components
from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import load_params
from kfp_textclf.pipelines.sources import PIPELINES
from kfp_textclf.pipelines.training_run import pipeline_arguments

OUTPUTS = Path("outputs")
SUFFIXES = {
    "system.Metrics": ".json",
    "system.ClassificationMetrics": ".json",
    "system.HTML": ".html",
    "system.Markdown": ".md",
}


def run_step(name: str) -> None:
    """Run the step whose name starts with ``name``, such as ``train``, with the parameters of ``params.yaml``.

    Raises:
        UserError: There is no such step, or it refuses its input.
    """
    spec = next(yaml.safe_load_all((PIPELINES / "training.yaml").read_text(encoding="utf-8")))
    tasks = {task.partition("-")[0]: (task, content) for task, content in spec["root"]["dag"]["tasks"].items()}
    if name not in tasks:
        raise UserError(f"{name!r}: is not a step of the training pipeline ({', '.join(sorted(tasks))})")
    task, content = tasks[name]
    params = load_params(Path("params.yaml"))
    arguments = pipeline_arguments(params, Path.cwd(), OUTPUTS)
    component, inputs = getattr(components, task.replace("-", "_")), content.get("inputs", {})
    values: dict[str, Any] = {
        parameter: arguments[argument]
        for parameter, source in inputs.get("parameters", {}).items()
        if parameter in (component.component_spec.inputs or {})  # the others are for the cluster
        and (argument := _argument(source)) in arguments  # an experiment beats no champion
    }
    for artifact, source in inputs.get("artifacts", {}).items():
        produced = source["taskOutputArtifact"]
        values[artifact] = _artifact(spec, produced["producerTask"], produced["outputArtifactKey"])
    for artifact in spec["components"][f"comp-{task}"]["outputDefinitions"].get("artifacts", {}):
        values[artifact] = _artifact(spec, task, artifact)
    os.environ.setdefault("WANDB_DIR", str(OUTPUTS))
    component.python_func(**values)
    if name == "train":
        _write_curves(read_json(Path(values["model"].path) / "training.json")["log"], OUTPUTS / "train")


def _argument(source: dict[str, Any]) -> str:
    """Return the pipeline argument behind a parameter; what preflight_run passes on is called as it is."""
    return source.get("componentInputParameter") or source["taskOutputParameter"]["outputParameterKey"]


def _write_curves(log: list[dict[str, float]], directory: Path) -> None:
    """Write the log of a training as the tables that ``dvc plots`` draws."""
    metrics = ("loss", "matthews_correlation", "macro_f1", "accuracy")
    rows = {
        "loss.csv": [{"epoch": e["epoch"], "loss": e["loss"]} for e in log if "loss" in e],
        "validation.csv": [
            {"epoch": e["epoch"], **{name: e[f"eval_{name}"] for name in metrics}} for e in log if "eval_loss" in e
        ],
    }
    for name, table in rows.items():
        with (directory / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)


def _artifact(spec: dict[str, Any], task: str, name: str) -> Any:
    from kfp import dsl

    kind = spec["components"][f"comp-{task}"]["outputDefinitions"]["artifacts"][name]["artifactType"]["schemaTitle"]
    path = OUTPUTS / task.partition("-")[0] / f"{name}{SUFFIXES.get(kind, '')}"
    return getattr(dsl, kind.removeprefix("system."))(name=name, uri=str(path))


if __name__ == "__main__":
    try:
        run_step(sys.argv[1] if len(sys.argv) > 1 else "")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
