"""The steps as DVC stages: the repository's own dvc.yaml on the tiny model."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support import read

from kfp_textclf import components
from kfp_textclf.pipelines.sources import COMPONENTS
from kfp_textclf.pipelines.step import _argument

ROOT = COMPONENTS.parent


@pytest.fixture
def dvc_project(project: SimpleNamespace) -> SimpleNamespace:
    """The tiny project as a git and DVC repository with this repository's stages."""
    stages = (ROOT / "dvc.yaml").read_text(encoding="utf-8").replace("data/sample/", "data/")
    (project.root / "dvc.yaml").write_text(stages, encoding="utf-8")
    (project.root / ".gitignore").write_text("/outputs/\n", encoding="utf-8")
    params = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    (project.root / "params.yaml").write_text(
        yaml.safe_dump({"seed": 13, "export": {"opset": 17}, **params}), encoding="utf-8"
    )
    shutil.copytree(COMPONENTS, project.root / "components", ignore=shutil.ignore_patterns("__pycache__"))
    project.git = caller(project.root, "git", "-c", "user.name=t", "-c", "user.email=t@example.com")
    project.dvc = caller(project.root, sys.executable, "-m", "dvc")
    project.git("init", "-q")
    project.dvc("init", "-q")
    project.git("add", ".")
    project.git("commit", "-qm", "start")
    return project


def caller(root: Path, *prefix: str):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site-cache"),
    }

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [*prefix, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


def test_stages_reproduce_measure_and_run_only_what_changed(dvc_project: SimpleNamespace):
    dvc_project.dvc("repro")
    files = json.loads(dvc_project.dvc("metrics", "show", "--json"))[""]["data"]
    int8 = files["outputs/evaluate/onnx_int8_metrics.json"]["data"]
    assert int8["matthews_correlation"] > 0.5
    assert files["outputs/train/metrics.json"]["data"]["epochs"] > 1
    assert "didn't change, skipping" in dvc_project.dvc("repro")
    assert dvc_project.dvc("status").strip().startswith("Data and pipelines are up to date")

    plots = json.loads(dvc_project.dvc("plots", "show", "--json"))
    assert "errors" not in plots
    assert all(plots["data"][name] for name in ("confusion", "loss", "validation"))

    dvc_project.git("add", ".")
    dvc_project.git("commit", "-qm", "first")
    log = dvc_project.dvc("exp", "run", "-S", "train.epochs=1", "--name", "short")
    assert "Stage 'prepare' didn't change, skipping" in log
    changed = json.loads(dvc_project.dvc("metrics", "diff", "--json"))["outputs/train/metrics.json"]
    assert changed["epochs"]["new"] == 1


QUALITY = ("accuracy", "macro_f1", "matthews_correlation", "nll", "temperature")


def test_experiments_measure_what_the_pipeline_measures_and_are_compared(dvc_project: SimpleNamespace):
    rate = "train.learning_rate=0.001"
    dvc_project.dvc("exp", "run", "-S", "train.epochs=2", "-S", rate, "--name", "direct")
    dvc_project.dvc("exp", "run", "--queue", "-S", "train.epochs=2", "-S", rate, "-S", "seed=14", "--name", "queued")
    dvc_project.dvc("exp", "run", "--run-all")
    shown = json.loads(dvc_project.dvc("exp", "show", "--json"))
    found = {e["name"]: e["revs"][0]["data"] for branch in shown for e in branch.get("experiments") or []}
    assert set(found) == {"direct", "queued"}
    assert all(data["params"]["params.yaml"]["data"]["train"]["learning_rate"] == 0.001 for data in found.values())

    done = dvc_project.run("run", "--set", "train.epochs=2", "--set", rate)
    assert done.code == 0, done.err
    for variant, figures in read(dvc_project.runs / "latest" / "metrics.json")["variants"].items():
        measured = found["direct"]["metrics"][f"outputs/evaluate/{variant}_metrics.json"]["data"]
        assert {q: measured[q] for q in QUALITY} == pytest.approx({q: figures[q] for q in QUALITY}, abs=1e-6)
    same = compared(dvc_project, "latest", "direct")
    assert (same["parameters"], same["data"]) == ({}, {})
    (tested,) = same["significance"]
    assert tested["verdict"] == "no significant difference"
    assert (tested["common_rows"], tested["only_first_right"], tested["only_second_right"]) == (54, 0, 0)

    both = compared(dvc_project, "direct", "queued")
    assert both["parameters"] == {"seed": [13, 14]}
    assert [run["source"] for run in both["runs"]] == ["dvc", "dvc"]
    assert compared(dvc_project, "workspace", "direct")["parameters"] == {}
    done = dvc_project.run("compare", "latest", "HEAD")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert "HEAD: outputs/evaluate/evaluation/metrics.json is not there" in done.err


def compared(project: SimpleNamespace, *names: str) -> dict:
    done = project.run("compare", *names, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_every_stage_reads_the_parameters_that_its_component_takes():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    spec = next(yaml.safe_load_all((ROOT / "pipelines" / "training.yaml").read_text(encoding="utf-8")))
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for name, stage in stages.items():
        task = next(t for task, t in spec["root"]["dag"]["tasks"].items() if task.startswith(name))
        component = getattr(components, task["taskInfo"]["name"].replace("-", "_")).component_spec.inputs
        taken = {
            _argument(source)
            for parameter, source in task["inputs"].get("parameters", {}).items()
            if parameter in component
        }
        tracked = {
            leaf for key in stage["params"] for leaf in (params[key] if isinstance(params[key], dict) else [key])
        }
        from_the_data = {"dataset_pin", "train_file", "test_file", "champion"}
        assert taken - from_the_data <= tracked, name
