"""The training pipeline submitted to the stand-in: a real git checkout, a real S3 store, the real record step."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp_stand_in import Behaviour, Moment, StandIn, Task, stand_in
from support import artifact, md5, read, run_git

from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.record.stage import record
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.sources import PIPELINES

STEPS = Package.load(PIPELINES / "training.yaml").steps
SUCCEEDED = Moment("SUCCEEDED", [Task(step, "SUCCEEDED") for step in STEPS])
FIGURES = {"accuracy": 0.9, "macro_f1": 0.9, "matthews_correlation": 0.9}
pytestmark = pytest.mark.s3


@pytest.fixture
def checkout(project: SimpleNamespace, s3_uri: str) -> SimpleNamespace:
    """A clean git checkout whose pinned data are in S3, and a way to submit from it."""
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    params |= {"store": f"{s3_uri}/data", "base_model": f"{s3_uri}/base", "publish": {"publish_to": f"{s3_uri}/models"}}
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))
    store = open_store(s3_uri)
    store.write("base/config.json", b"{}")
    for path in project.data.glob("*.csv"):
        content = path.read_bytes()
        digest = md5(content)
        store.write(f"data/files/md5/{digest[:2]}/{digest[2:]}", content)
        pin = {"outs": [{"md5": digest, "size": len(content), "hash": "md5", "path": path.name}]}
        path.with_name(f"{path.name}.dvc").write_text(yaml.safe_dump(pin))
    (project.root / ".gitignore").write_text("/runs\n/data/*.csv\n")
    run_git(project.root, "init", "-q")
    run_git(project.root, "add", ".")
    run_git(project.root, "commit", "-qm", "all")

    def submit(server: StandIn | None, *options: str) -> SimpleNamespace:
        host = server.url if server else "http://127.0.0.1:9"
        command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "submit", "--host", host, "--poll", "0.05"]
        known = {name: value for name, value in os.environ.items() if not name.startswith(("KFP_", "KF_", "KUBE"))}
        done = subprocess.run(
            [*command, *options], cwd=project.root, env=known, capture_output=True, text=True, check=False
        )
        return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)

    return SimpleNamespace(root=project.root, data=project.data, store=store, uri=s3_uri, submit=submit)


def evaluated(directory: Path) -> tuple[str, ...]:
    """Write what the record of a run is made from: evaluation, model, comparison of the data, page and summary."""
    import json

    metrics = {"verdict": "promote", "reason": "better", "rows": 1, "variants": {"onnx_int8": FIGURES}}
    profile = {
        "dataset": {"git_rev": "abc", "files": {"train.csv": {"md5": "0" * 32, "size": 5}}},
        "rows": {"train": 3, "validation": 1, "test": 1},
        "class_counts": {"train": {"a": 2, "b": 1}},
    }
    answers = "text_hash,actual,predicted,probability\n0011223344556677,a,a,0.9\n"
    files = {"metrics.json": json.dumps(metrics), "profile.json": json.dumps(profile), "predictions.csv": answers}
    artifact(directory / "evaluation", files)
    artifact(directory / "model", {"training.json": '{"log": []}'})
    artifact(directory / "comparison", {"comparison.json": '{"champion": ""}'})
    for name in ("report.html", "report.md"):
        (directory / name).write_text("# Evaluation")
    return tuple(str(directory / name) for name in ("evaluation", "model", "comparison", "report.html", "report.md"))


def refused(done: SimpleNamespace, *parts: str) -> None:
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    for part in parts:
        assert part in done.err.splitlines()[-1]


def test_run_is_submitted_and_its_result_fetched(checkout: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory):
    scratch = tmp_path_factory.mktemp("evaluated")
    with stand_in(Behaviour(course=[SUCCEEDED])) as server:
        create = server.create_run

        def create_run(body: dict, **options: object) -> dict:
            run = create(body, **options)
            store, tracking = f"{checkout.uri}/models", {"mode": "online", "url": "https://wandb.example/run"}
            record(*evaluated(scratch), publish_to=store, run_id=run["run_id"], tracking=tracking)
            return run

        server.create_run = create_run  # type: ignore[method-assign]  (what the run's last step would do)
        done = checkout.submit(server, "--preflight", "--set", "cluster.gpu_count=0", "--set", "train.epochs=2")
    assert done.code == 0, done.err
    (run,) = server.runs.values()
    values = run["runtime_config"]["parameters"]
    assert (values["gpu_count"], values["epochs"]) == ("0", 2)
    assert values["dataset_pin"]["git_rev"] == run_git(checkout.root, "rev-parse", "HEAD")
    assert values["dataset_pin"]["store"] == f"{checkout.uri}/data"
    assert values["checkpoint_uri"] == ""
    assert "places are as the run needs them" in done.err
    assert "promote: better" in done.out
    directory = checkout.root / "runs" / run["run_id"]
    metrics = read(directory / "metrics.json")
    assert (metrics["state"], metrics["variants"]["onnx_int8"]) == ("SUCCEEDED", FIGURES)
    assert metrics["dataset"]["classes"] == 2
    assert "https://wandb.example/run" in (directory / "report.md").read_text()
    steps = {step["name"]: step for step in metrics["steps"]}
    assert set(steps) == set(STEPS)
    assert {"seconds", "energy_wh", "cost"} <= set(steps["train-classifier"])
    assert {path.name for path in directory.iterdir()} >= {"predictions.csv", "report.html", "report.md"}
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "compare", f"kfp:{run['run_id']}", run["run_id"]]
    compared = subprocess.run(command, cwd=checkout.root, capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stderr
    assert "0.9" in compared.stdout


def test_what_is_not_committed_or_pushed_is_refused(checkout: SimpleNamespace) -> None:
    params = checkout.root / "params.yaml"
    clean = params.read_text()
    params.write_text(clean + "\n# changed\n")
    with stand_in() as server:
        refused(checkout.submit(server), "params.yaml: changed since the last commit", "--allow-dirty")
        done = checkout.submit(server, "--allow-dirty", "--no-wait")
        assert done.code == 0, done.err
        params.write_text(clean)
        key = next(iter(checkout.store.keys("data/")))
        checkout.store.delete(key)
        refused(checkout.submit(server), "does not exist", "--push")
        pushed = checkout.submit(server, "--push", "--no-wait")
        assert pushed.code == 0, pushed.err
        assert "copied to" in pushed.err
    assert key in checkout.store.keys("data/")
    assert len(server.runs) == 2


def test_places_on_this_machine_are_refused(checkout: SimpleNamespace) -> None:
    for setting in ("publish.publish_to=file:///models", "store=data", "base_model=file:///model"):
        refused(checkout.submit(None, "--set", setting, "--allow-dirty"), "file://", "no pod can read it")


def test_preflight_names_everything_before_anything_is_sent(checkout: SimpleNamespace) -> None:
    with stand_in() as server:
        done = checkout.submit(server, "--preflight", "--set", f"base_model={checkout.uri}/other")
        refused(done, "base_model", "holds no config.json")
    assert server.requests == []


def test_sweep_is_submitted(checkout: SimpleNamespace) -> None:
    with stand_in() as server:
        done = checkout.submit(server, "--pipeline", str(PIPELINES / "sweep.yaml"), "--no-wait")
    assert done.code == 0, done.err
    (run,) = server.runs.values()
    assert run["runtime_config"]["parameters"]["candidates"][0]["name"] == "default"
