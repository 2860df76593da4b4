"""Commands of the documentation that a test cannot run, why, and what is checked in place of that."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import validate
from typer.testing import CliRunner

from kfp_textclf.pipelines.cli import app

BASE_MODEL = "s3://bucket/base-model"  # what a rehearsed submission names; pods cannot read that of the clone

# Pattern of a command, and why it is not run.
NOT_RUN = (
    (r"^(kind|helm|eksctl) ", "needs a cluster or a cloud account"),
    (r"^(\S*/)?kubectl (apply|create|diff|wait|port-forward|get|logs|delete|describe)\b", "needs a cluster"),
    (r"^manifests/overlays/kind/fake-gpu|^SETTINGS=.* \.ci/submit", "needs a cluster"),
    (r"^make data\b", "needs the public network: tests/data"),
    (r"^make \S+ .*\bDATASET=atis", "needs the ATIS texts, which are not part of this repository"),
    (r"^kfp-textclf schedule .*--delete", "needs a cluster; tests/pipelines has a stand-in"),
    (r"^make (install|test|lint|typecheck|manifests|docs-assets)\b", "is what CI does, around this test"),
    (r"^make (images|push|sbom)\b|RUNNER=docker", "builds images: tests/images, marked docker"),
    (r"^kfp-textclf track sync", "needs a W&B account; tests/pipelines/test_track.py has a stand-in"),
)


def reason_not_to_run(command: str) -> str:
    """Return why a command is not run; empty when it is."""
    return next((reason for pattern, reason in NOT_RUN if re.search(pattern, command)), "")


def rehearsal(command: str) -> str:
    """Return a command as a test types it: what submits prepares everything, and sends nothing."""
    options = f"--allow-dirty --dry-run --set base_model={BASE_MODEL}"
    if re.match(r"make( compile)? submit ", command):
        return f'{command} ARGS="{options}"'
    if re.match(r"kfp-textclf (submit|schedule) ", command):
        return f"{command} {options}"
    return command


def check(command: str, clone: Path, environment: dict[str, str]) -> None:
    """Check that a command is one: its program, options, make targets and variables, and the files that it names.

    Raises:
        AssertionError: It is not.
    """
    words = shlex.split(command.replace("\\\n", " "), comments=True)
    words = [word for word in words if word not in ("&", "|")]
    while re.match(r"^[A-Z_]+=", words[0]):
        words = words[1:]
    program, arguments = Path(words[0]).name, words[1:]
    if program == "kfp-textclf":
        # The real parser takes every option before it looks at --help, and does nothing else then.
        parsed = CliRunner().invoke(app, [*arguments, "--help"])
        assert parsed.exit_code == 0, parsed.output
    elif program == "make":
        _check_make(arguments, clone, environment)
    elif program == "kubectl":
        _check_kubectl(arguments, clone)
    elif program == "python":
        assert (clone / arguments[0]).is_file(), f"{arguments[0]}: no such file"
    elif "/" in words[0]:
        assert os.access(clone / words[0], os.X_OK), f"{words[0]}: no such program"
    else:
        assert program in ("kind", "helm", "eksctl"), f"{program}: of no known kind"
    for option in ("--config", "--values", "--filename", "-f"):
        if option in arguments and program in ("kind", "helm", "kubectl", "eksctl"):
            named = arguments[arguments.index(option) + 1]
            assert (clone / named).is_file(), f"{named}: no such file"


def _check_make(arguments: Sequence[str], clone: Path, environment: dict[str, str]) -> None:
    makefile = (clone / "Makefile").read_text(encoding="utf-8")
    for argument in arguments:
        variable, assigned, _ = argument.partition("=")
        assert not assigned or f"$({variable})" in makefile, f"{variable}: a variable that the Makefile does not know"
    dry = subprocess.run(
        ["make", "--dry-run", *arguments], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr


def _check_kubectl(arguments: Sequence[str], clone: Path) -> None:
    if "-k" in arguments:
        directory = arguments[arguments.index("-k") + 1]
        if "://" not in directory:
            rendered = [validate.kubectl(), "kustomize", str(clone / directory)]
            done = subprocess.run(rendered, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
