"""A training from its trigger to the comment that a reviewer sees: train.yml, run step by step outside GitHub.

Replaced, by stubs on PATH: ``docker`` (images are neither built nor pushed; its commands are recorded) and the download
of cml, by a stub of it. The KFP server is a stand-in, in a process of its own; store, data, evaluation and report are
real.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from actions import STUBS, Job, Runner, Trigger, pull_request
from github_stand_in import GitHub
from support import md5, run_git

from kfp_textclf.components.common.dataset_pin import object_key
from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.images import TARGETS
from kfp_textclf.pipelines.dev_s3 import S3Server
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.sources import PIPELINES

STEPS = Package.load(PIPELINES / "training.yaml").steps
ALL_SUCCEEDED = [(step, "SUCCEEDED") for step in STEPS]
NOWHERE = "http://127.0.0.1:9"
pytestmark = pytest.mark.s3


@pytest.fixture
def project(runner: Runner, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """The host; the repository's data and models are in S3."""
    runner.environment = {**runner.environment, **s3_server.environment}
    uri = f"s3://{s3_server.bucket}/continuous"
    params = yaml.safe_load((runner.origin / "params.yaml").read_text())
    params |= {"store": f"{uri}/data", "publish": {"publish_to": f"{uri}/models"}}
    (runner.origin / "params.yaml").write_text(yaml.safe_dump(params))
    run_git(runner.origin, "commit", "-qam", "Our buckets")
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"{uri}/data")
    for file in params["datasets"]["sample"].values():
        content = (runner.origin / file).read_bytes()
        store.write(object_key(md5(content)), content)
    return runner


@pytest.fixture
def cluster(project: Runner, tmp_path: Path) -> Iterator[Callable[..., SimpleNamespace]]:
    """Start a KFP server whose runs end as told; return its URL, and what was submitted to it."""
    processes = []

    def start(state: str, tasks: list, evaluation: Path | None = None, model: Path | None = None) -> SimpleNamespace:
        course = {"state": state, "tasks": tasks, "evaluation": evaluation and str(evaluation)}
        (tmp_path / "course.json").write_text(json.dumps(course | {"model": model and str(model)}))
        command = [
            sys.executable,
            str(STUBS.parent / "cluster.py"),
            str(tmp_path / "course.json"),
            str(tmp_path / "runs"),
        ]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={"PATH": "/usr/bin:/bin", **project.environment}
        )
        processes.append(process)
        assert process.stdout
        return SimpleNamespace(
            url=process.stdout.readline().strip(), runs=lambda: json.loads((tmp_path / "runs").read_text())
        )

    yield start
    for process in processes:
        process.kill()
        process.wait()


def push(api: GitHub, runner: Runner, url: str, **variables: str) -> Trigger:
    """A merge of pull request 7 into main."""
    api.pulls[run_git(runner.origin, "rev-parse", "main")] = 7
    return Trigger("push", "main", {"ref": "refs/heads/main"}, {"KFP_ENDPOINT": url, **variables})


def labelled(runner: Runner, url: str, repository: str = "acme/texts", **variables: str) -> Trigger:
    """Pull request 7, which a maintainer has labelled `train`."""
    params = runner.origin / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4", "epochs: 1"))
    event: dict[str, Any] = {"label": {"name": "train"}}
    event["pull_request"] = {"number": 7, "head": {"repo": {"full_name": repository}}}
    return Trigger("pull_request", pull_request(runner.origin, "Train less"), event, {"KFP_ENDPOINT": url, **variables})


def watermark(title: str) -> str:
    return f'![](https://cml.dev/watermark.png#abc "CML watermark {title}")'


def results(jobs: dict[str, Job]) -> dict[str, str]:
    return {name: job.result for name, job in jobs.items()}


def test_a_better_model(project: Runner, api: GitHub, cluster, evaluations: SimpleNamespace) -> None:
    project.environment = {**project.environment, "STUB_REGISTRY": "full"}
    server = cluster("SUCCEEDED", ALL_SUCCEEDED, evaluations.better, evaluations.model)
    jobs = project.run("train", push(api, project, server.url))
    done = dict.fromkeys(("images", "train", "report"), "success")
    assert results(jobs) == {**done, "fork": "skipped"}, jobs["train"].log + jobs["report"].log
    assert {tuple(call[1:3]) for call in project.recorded()} == {("buildx", "imagetools"), ("image", "ls")}  # no build
    (run,) = server.runs()
    assert run["runtime_config"]["parameters"]["publish_promoted"] is True
    compiled = (project.directory / "train/workspace/build/training.yaml").read_text()
    assert f"kfp-textclf-cpu@sha256:{7:064d}" in compiled
    (comment,) = api.posted(7)
    assert "**Promote, significantly better against the champion**" in comment
    assert evaluations.champion.rpartition("/")[2] in comment
    assert f"{server.url}/#/runs/details/{run['run_id']}" in comment
    assert "| MCC | 1.0000 | 0.0000 | +1.0000 |" in comment
    assert comment.partition("\n")[2].strip() == jobs["report"].summary.strip()


def test_a_worse_model_of_a_pull_request_by_cml(
    project: Runner, api: GitHub, cluster, evaluations: SimpleNamespace
) -> None:
    server = cluster("SUCCEEDED", ALL_SUCCEEDED, evaluations.worse)
    sha256 = hashlib.sha256((STUBS / "cml-linux-x64").read_bytes()).hexdigest()
    api.comment(7, "Let us see")
    api.comment(7, f"The run before\n\n{watermark('train')}", "github-actions[bot]")
    api.comment(7, f"Another workflow\n\n{watermark('ci')}", "github-actions[bot]")
    jobs = project.run("train", labelled(project, server.url, CML_SHA256=sha256))
    assert jobs["train"].result == jobs["report"].result == "success", jobs["train"].log + jobs["report"].log
    comment, other = api.posted(7)
    assert "**Reject, significantly worse against the champion**" in comment
    assert 'CML watermark train")' in comment
    assert "Another workflow" in other
    builds = [call for call in project.recorded() if call[:3] == ["docker", "buildx", "build"]]
    assert [next(a for a in call if a.startswith("--target=")) for call in builds] == [f"--target={t}" for t in TARGETS]
    assert all({"--push", "--provenance=mode=max", "--sbom=true"} <= set(call) for call in builds)
    parameters = server.runs()[0]["runtime_config"]["parameters"]
    assert (parameters["publish_promoted"], parameters["epochs"]) == (False, 1)


def test_a_cml_of_another_sha256_is_not_used(project: Runner, api: GitHub, cluster) -> None:
    server = cluster("CANCELED", [(STEPS[0], "SUCCEEDED"), (STEPS[1], "CANCELED")])
    trigger = push(api, project, server.url, CML_SHA256="0" * 64)
    trigger.inputs = {"settings": "train.epochs=2 seed=14"}
    trigger.name = "workflow_dispatch"
    jobs = project.run("train", trigger)
    assert (jobs["train"].result, jobs["report"].result) == ("failure", "success"), jobs["report"].log
    assert "cml: FAILED" in jobs["report"].log
    parameters = server.runs()[0]["runtime_config"]["parameters"]
    assert (parameters["epochs"], parameters["seed"]) == (2, 14)
    (comment,) = api.posted(7)
    assert "**Cancelled**" in comment
    assert "Nothing was published" in comment
    assert "watermark" not in comment


def test_a_failed_run(project: Runner, api: GitHub, cluster) -> None:
    error = "step 12\nValueError: loss is nan\n<script>alert(1)</script> | $(rm -rf /) `x`"
    tasks = [*ALL_SUCCEEDED[:4], ("train-classifier", "FAILED", error)]
    server = cluster("FAILED", tasks)
    jobs = project.run("train", push(api, project, server.url))
    assert results(jobs) == {"images": "success", "train": "failure", "report": "success", "fork": "skipped"}
    (comment,) = api.posted(7)
    assert "**Failed at train-classifier**" in comment
    assert "ValueError: loss is nan" in comment
    assert "What to do" in comment
    assert "submit.log" in comment or "submit" in comment
    assert "<script>" not in comment.replace("```", "").partition("<script>")[0]


def test_a_refused_submission(project: Runner, api: GitHub) -> None:
    jobs = project.run("train", push(api, project, NOWHERE))
    assert (jobs["train"].result, jobs["report"].result) == ("failure", "success"), jobs["report"].log
    (comment,) = api.posted(7)
    assert "**Failed at submit**" in comment
    assert f"{NOWHERE}: cannot be reached" in comment


def test_a_submission_that_crashes(project: Runner, api: GitHub) -> None:
    """Without a compiler of the pipelines there is no run."""
    (project.origin / "pipelines" / "training.py").write_text("raise RuntimeError('broken')\n")
    run_git(project.origin, "commit", "-qam", "Broken")
    jobs = project.run("train", push(api, project, NOWHERE))
    assert (jobs["train"].result, jobs["report"].result) == ("failure", "success"), jobs["report"].log
    (comment,) = api.posted(7)
    assert "**Failed at submit**" in comment
    assert "RuntimeError: broken" in comment


def test_images_that_cannot_be_built(project: Runner, api: GitHub) -> None:
    project.environment = {**project.environment, "STUB_REGISTRY": "down"}
    jobs = project.run("train", push(api, project, NOWHERE))
    assert results(jobs) == {"images": "failure", "train": "skipped", "report": "success", "fork": "skipped"}
    (comment,) = api.posted(7)
    assert "nothing was submitted; see https://github.com/acme/texts/actions/runs/42" in comment


def test_a_fork_is_not_trained_on(project: Runner, api: GitHub) -> None:
    api.read_only = True
    jobs = project.run("train", labelled(project, NOWHERE, "mallory/texts"))
    assert results(jobs) == {**dict.fromkeys(("images", "train", "report"), "skipped"), "fork": "success"}
    assert "A pull request from a fork is not trained on" in jobs["fork"].summary
    assert project.recorded() == []
    assert api.posted(7) == []


def test_a_repository_without_a_cluster_does_nothing(project: Runner, api: GitHub) -> None:
    assert set(results(project.run("train", push(api, project, ""))).values()) == {"skipped"}
