"""What holds for every workflow, present and future."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from actions import ROOT

from kfp_textclf.pipelines.sources import image_inputs

FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def load(path: Path) -> dict[Any, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def triggers(workflow: dict[Any, Any]) -> dict[str, Any]:
    return workflow[True]  # YAML 1.1 reads the key `on` as true


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_actions_are_pinned_and_every_job_has_its_own_rights_and_limits(path: Path) -> None:
    workflow, text = load(path), path.read_text(encoding="utf-8")
    for line in text.splitlines():
        assert "uses:" not in line or PINNED.search(line), line
    assert workflow["permissions"] == {}
    assert "cancel-in-progress" in workflow["concurrency"]
    assert not {"pull_request_target", "workflow_run"} & set(triggers(workflow))
    for name, job in workflow["jobs"].items():
        secrets = set(re.findall(r"secrets\.(\w+)", yaml.safe_dump(job)))
        assert secrets <= ({"KFP_TOKEN", "KFP_COOKIE"} if job.get("environment") == "training" else set()), name
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 400, name
        assert "permissions" in job, name
        assert not {"write-all", "read-all"} & {job["permissions"] if isinstance(job["permissions"], str) else ""}
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_from_outside_becomes_part_of_a_command(path: Path) -> None:
    for name, job in load(path)["jobs"].items():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), name


def test_what_can_write_runs_nothing_that_is_not_its_own() -> None:
    """Whoever comments, releases or signs neither builds nor tests."""
    for path in FILES:
        for name, job in load(path)["jobs"].items():
            writes = {scope for scope, right in job["permissions"].items() if right == "write"}
            commands = "\n".join(step.get("run", "") for step in job["steps"])
            if writes & {"pull-requests", "contents"}:
                assert not re.search(r"make (test|push|images|compile)|submit", commands), (path.name, name)
            if "packages" not in writes:
                assert "make push" not in commands, (path.name, name)


def test_images_are_pushed_with_provenance_and_bill_of_materials() -> None:
    pushes = [
        (path.name, line)
        for path in FILES
        for line in path.read_text(encoding="utf-8").splitlines()
        if "make push" in line
    ]
    assert {name for name, _ in pushes} == {"train.yml", "release.yml"}
    for _, line in pushes:
        assert "ATTEST=true" in line


def test_training_starts_for_what_a_model_is_made_of() -> None:
    paths = triggers(load(ROOT / ".github/workflows/train.yml"))["push"]["paths"]
    made_of = {"**.dvc", "data/**", "params.yaml", "components/**", "pipelines/**", "images/**"}
    assert made_of <= set(paths)
    assert not {"docs/**", "tests/**", ".github/**"} & set(paths)


def test_make_knows_which_files_the_images_are_made_from() -> None:
    shown = subprocess.run(
        ["make", "--silent", "--eval=show: ; $(info $(IMAGE_INPUTS))", "show"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    listed = subprocess.run(
        ["git", "ls-files", "--", *shlex.split(shown)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    inputs = {path.relative_to(ROOT).as_posix() for path in image_inputs(ROOT)}
    assert set(listed.splitlines()) == inputs & set(tracked.splitlines())


def test_dependencies_wait_a_week_and_come_in_groups() -> None:
    updates = load(ROOT / ".github/dependabot.yml")["updates"]
    assert {update["package-ecosystem"] for update in updates} == {"pip", "github-actions", "docker"}
    assert all(update["cooldown"]["default-days"] >= 7 for update in updates)
