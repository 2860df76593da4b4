"""The whole pipeline on this machine, through the command line, with a tiny model."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import CITIES, read, run_git, tiny_rows, write_csv

from kfp_textclf.components.common.artifacts import sha256_of
from kfp_textclf.components.common.object_store import open_store

STEPS = [
    "preflight-run",
    "ingest-dataset",
    "prepare-dataset",
    "compare-dataset",
    "train-classifier",
    "export-onnx",
    "evaluate-model",
    "publish-model",
    "record-run",
]
QUALITY = ("accuracy", "macro_f1", "matthews_correlation")


def quality(metrics: dict) -> dict:
    return {name: {q: figures[q] for q in QUALITY} for name, figures in metrics["variants"].items()}


def test_a_run_leaves_metrics_reports_logs_and_a_published_model(project: SimpleNamespace):
    done = project.run("run")
    assert done.code == 0, done.err
    latest = project.runs / "latest"
    metrics = read(latest / "metrics.json")
    assert metrics["verdict"] == "promote"
    assert [step["name"] for step in metrics["steps"]] == STEPS
    assert not any(step["cached"] for step in metrics["steps"])
    assert all(step["cost"] > 0 and step["energy_wh"] > 0 for step in metrics["steps"])
    for variant in ("torch", "onnx", "onnx_int8"):
        speed = ("latency_ms_p50", "latency_ms_p99", "rows_per_second", "size_bytes")
        assert all(metrics["variants"][variant][name] > 0 for name in speed)
        assert metrics["variants"][variant]["matthews_correlation"] > 0.9
    assert metrics["dataset"]["files"]["train.csv"]["rows"] == 216
    assert metrics["dataset"]["store"] == project.data.as_uri()
    for name in ("report.html", "report.md"):
        report = (latest / name).read_text(encoding="utf-8")
        assert metrics["dataset"]["files"]["train.csv"]["md5"][:8] in report
        assert metrics["dataset"]["store"].rpartition("/")[2] in report
    assert metrics["dataset"]["classes"] == 3
    assert metrics["dataset"]["rows"]["test"] == 54
    for name in ("report.html", "report.md", "curves.png", "variants.png", "confusion_matrix.png", "pipeline.yaml"):
        assert (latest / name).stat().st_size > 500, name
    logs = {f"{number}-{step}.log" for number, step in enumerate(STEPS, start=1)}
    assert {log.name for log in (latest / "logs").iterdir()} == {*logs, "pipeline.log"}
    published = latest / "models" / "published"
    assert read(project.runs / "store" / "tiny" / "champion.json")["version"] == published.resolve().name
    answer = project.run("predict", str(published), "how much is the fare to boston")
    assert answer.out.startswith("fare\t")
    assert not list(project.runs.rglob("*.partial-*"))
    for output in project.runs.rglob("executor_output.json"):
        for artifact in (one for many in read(output).get("artifacts", {}).values() for one in many["artifacts"]):
            nulls = [name for name, value in artifact["metadata"].items() if value is None]
            assert not nulls, f"{artifact['name']}: the launcher of a cluster fails on metadata without a value"

    again = project.run("run")
    assert again.code == 0, again.err
    repeated = read(project.runs / "latest" / "metrics.json")
    assert [step["cached"] for step in repeated["steps"]] == [False] + [True] * 6 + [False, False]
    assert repeated["variants"] == metrics["variants"]
    assert repeated["published"] == metrics["published"]

    untrained = ["--set", "train.epochs=1", "--set", "train.learning_rate=1e-6", "--set", "evaluate.floor=-1"]
    worse = project.run("run", *untrained)
    assert worse.code == 0, worse.err
    rejected = read(project.runs / "latest" / "metrics.json")
    assert rejected["verdict"] == "reject"
    assert "below the champion's" in rejected["reason"]
    assert rejected["published"] is None
    assert [step["cached"] for step in rejected["steps"]] == [False, True, True] + [False] * 5
    assert "nothing was published" in worse.out
    assert read(project.runs / "store" / "tiny" / "champion.json")["version"] == metrics["published"]["version"]

    judged = project.run("run", "--set", "publish.publish_promoted=false")
    assert judged.code == 0, judged.err
    unpublished = read(project.runs / "latest" / "metrics.json")
    assert (unpublished["verdict"], unpublished["published"]) == ("promote", None)
    assert "publish-model" not in [step["name"] for step in unpublished["steps"]]


def test_changed_data_and_base_model_run_again_in_a_directory_of_any_name(
    project: SimpleNamespace, tiny_model: Path, tmp_path: Path
):
    base = shutil.copytree(tiny_model, tmp_path / "base model")
    runs = project.root / "my 100%25 runs"
    command = ("run", "--runs", str(runs), "--set", "train.epochs=1", "--set", "evaluate.floor=-1")
    command = (*command, "--set", f"base_model={base.as_uri()}")
    assert project.run(*command).code == 0
    assert (runs / "latest" / "models" / "published" / "model.int8.onnx").is_file()
    write_csv(project.data / "train.csv", tiny_rows(CITIES[:20]))
    assert project.run(*command).code == 0
    metrics = read(runs / "latest" / "metrics.json")
    assert not any(step["cached"] for step in metrics["steps"])
    assert metrics["dataset"]["files"]["train.csv"]["rows"] == 180
    with (base / "config.json").open("a") as config:
        config.write("\n")
    assert project.run(*command).code == 0
    cached = {step["name"]: step["cached"] for step in read(runs / "latest" / "metrics.json")["steps"]}
    assert (cached["ingest-dataset"], cached["prepare-dataset"], cached["train-classifier"]) == (True, False, False)


@pytest.mark.parametrize("victim", ["step", "step by SIGTERM", "run"])
def test_a_killed_run_leaves_no_process_and_the_next_one_continues(project: SimpleNamespace, victim: str):
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "run", "--set", "evaluate.floor=-1"]
    process = subprocess.Popen(command, cwd=project.root, stderr=subprocess.PIPE, text=True)
    checkpoints = project.runs / "checkpoints"
    wait_for(lambda: list(checkpoints.rglob("manifest.json")), seconds=120)  # in the middle of the training
    steps = [pid for pid in processes(project.root) if "forkserver" in command_line(parent(pid))]
    assert len(steps) == 1
    victims = [process.pid] if victim == "run" else steps
    for pid in victims:
        os.kill(pid, signal.SIGTERM if victim == "step by SIGTERM" else signal.SIGKILL)
    rest = process.communicate()[1]
    if victim != "run":
        assert process.returncode == 1
        assert "train-classifier failed" in rest
    if victim == "step by SIGTERM":
        assert re.search(r"stopped by SIGTERM at step \d+ of 325", rest)
    wait_for(lambda: not processes(project.root))
    assert not (project.runs / "latest").exists()

    done = project.run("run", "--set", "evaluate.floor=-1")
    assert done.code == 0, done.err
    resumed = read(project.runs / "latest" / "metrics.json")
    assert [step["cached"] for step in resumed["steps"]][1:5] == [True, True, True, False]
    log = (project.runs / "latest" / "logs" / "5-train-classifier.log").read_text()
    assert re.search(r"^ *resumed from step [1-9]\d* of 325$", log, flags=re.MULTILINE)
    assert not [path for path in checkpoints.rglob("*") if path.is_file() and not path.name.startswith(".")]

    undisturbed = project.run("run", "--runs", "elsewhere", "--set", "evaluate.floor=-1")
    assert undisturbed.code == 0, undisturbed.err
    assert quality(read(project.root / "elsewhere" / "latest" / "metrics.json")) == quality(resumed)
    trained = [sha256_of(path) for path in project.root.glob("*/artifacts/**/model.safetensors")]
    assert len(trained) == 2
    assert len(set(trained)) == 1


def processes(root: Path) -> list[int]:
    """Return the processes that were started in a directory."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and directory(int(p.name)) == root]


def directory(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def wait_for(condition, seconds: float = 30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.mark.s3
def test_from_dvc_push_to_predict_everything_is_in_s3(
    project: SimpleNamespace, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """DVC pushes, the files leave the checkout, and ingest, checkpoints, champion and predict know the store alone."""
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "dvc"))
    run_git(project.root, "init", "--quiet")
    for arguments in (
        ["init", "--quiet"],
        ["remote", "add", "--quiet", "team", f"{s3_uri}/data"],
        ["add", "--quiet", "data/train.csv", "data/test.csv"],
        ["push", "--quiet", "-r", "team"],
    ):
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=project.root, check=True, capture_output=True)
    for name in ("train.csv", "test.csv"):
        (project.data / name).unlink()
    places = {
        "store": "team",
        "publish.publish_to": f"{s3_uri}/models/tiny",
        "train.checkpoint_uri": f"{s3_uri}/checkpoints",
    }
    settings = [part for name, value in places.items() for part in ("--set", f"{name}={value}")]
    done = project.run("run", *settings)
    assert done.code == 0, done.err
    metrics = read(project.runs / "latest" / "metrics.json")
    version = metrics["published"]["version"]
    assert metrics["arguments"]["dataset_pin"]["store"] == f"{s3_uri}/data"
    assert metrics["published"]["uri"] == f"{s3_uri}/models/tiny/versions/{version}"
    published = project.runs / "latest" / "models" / "published"
    assert published.is_dir()
    assert not published.is_symlink()
    models = (str(published), f"{s3_uri}/models/tiny")
    answers = [project.run("predict", model, "how much is the fare to boston").out for model in models]
    assert answers[0].startswith("fare\t")
    assert answers[0] == answers[1]

    other = project.run("run", *settings, "--set", "evaluate.floor=0.6")
    assert other.code == 0, other.err
    compared = read(project.runs / "latest" / "metrics.json")
    assert compared["champion"]["uri"] == f"{s3_uri}/models/tiny/versions/{version}"
    secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
    assert not [path for path in project.runs.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.s3
def test_store_option_copies_the_data_and_keeps_everything_below_one_uri(s3_uri: str, tiny_data: Path):
    """What is set already stays where it is."""
    from kfp_textclf.pipelines.data_push import push_dataset
    from kfp_textclf.pipelines.params import Params
    from kfp_textclf.pipelines.training_run import kept_below

    section = {"train": str(tiny_data / "train.csv"), "test": str(tiny_data / "test.csv")}
    params = Params.model_validate(
        {"dataset": "tiny", "datasets": {"tiny": section}, "publish": {"publish_to": "s3://x/y"}}
    )
    assert kept_below(s3_uri, params) == [f"store={s3_uri}/data", f"train.checkpoint_uri={s3_uri}/checkpoints"]
    assert sorted(push_dataset(params, tiny_data, f"{s3_uri}/data")) == ["test.csv", "train.csv"]
    assert push_dataset(params, tiny_data, f"{s3_uri}/data") == []
    contents = {path.read_bytes() for path in tiny_data.iterdir()}
    store = open_store(f"{s3_uri}/data")
    stored = [store.read(key) for key in store.keys("files/md5/")]
    assert {found.content for found in stored if found} == contents
