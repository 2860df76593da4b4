"""Runs a workflow's own steps outside GitHub: jobs by what they need, conditions, outputs, summaries, artifacts.

The commands are the workflow's. Actions (``uses``) are replaced, each by name, in `ACTIONS`; commands that need the
world outside are found on PATH before the real ones: see ``bin``.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from expressions import evaluate, filled
from support import run_git

from kfp_textclf.pipelines.sources import COMPONENTS

ROOT = COMPONENTS.parent
STUBS = Path(__file__).parent / "bin"
MACHINE = ("LANG", "TZ", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "COVERAGE_PROCESS_START")  # kept of this environment


@dataclass
class Trigger:
    """What started the workflow.

    Attributes:
        name: Such as ``pull_request``.
        ref: What is checked out, a name in the origin.
        event: Payload.
        variables: Of the repository.
        inputs: Of a dispatch.
    """

    name: str
    ref: str
    event: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """What became of a job: success, failure, cancelled or skipped; what its steps printed; its summary."""

    result: str
    outputs: dict[str, str] = field(default_factory=dict)
    log: str = ""
    summary: str = ""


class Runner:
    """A repository on a host where workflows run."""

    def __init__(self, directory: Path, origin: Path, venv: Path, environment: Mapping[str, str]) -> None:
        self.directory, self.origin, self.venv = directory, origin, venv
        self.environment = environment  # how steps reach the stand-ins
        self.artifacts = directory / "artifacts"
        self.calls = directory / "calls.jsonl"  # of stubs that record

    def run(self, name: str, trigger: Trigger) -> dict[str, Job]:
        """Run every job of a workflow of the commit that the trigger names."""
        shutil.rmtree(self.artifacts, ignore_errors=True)
        self.calls.unlink(missing_ok=True)
        sha = run_git(self.origin, "rev-parse", trigger.ref)
        workflow = yaml.safe_load(run_git(self.origin, "show", f"{sha}:.github/workflows/{name}.yml"))
        contexts: dict[str, Any] = {
            "github": {
                **{"event_name": trigger.name, "event": trigger.event, "repository": "acme/texts", "sha": sha},
                **{"repository_owner": "acme", "ref": f"refs/heads/{trigger.ref}", "actor": "dev"},
                "token": "token-of-this-run",
            },
            **{"vars": trigger.variables, "inputs": trigger.inputs, "secrets": {}, "needs": {}, "steps": {}},
        }
        jobs: dict[str, Job] = {}
        for identifier, job in workflow["jobs"].items():
            needs = job.get("needs", [])
            needs = [needs] if isinstance(needs, str) else needs
            contexts["needs"] = {n: {"result": jobs[n].result, "outputs": jobs[n].outputs} for n in needs}
            good = all(jobs[n].result == "success" for n in needs)
            if not _holds(job.get("if", ""), contexts, good):
                jobs[identifier] = Job("skipped")
                continue
            jobs[identifier] = _JobRun(self, identifier, workflow, job, contexts).run(trigger)
        return jobs

    def recorded(self) -> list[list[str]]:
        """Return the command lines of the stubs that record theirs."""
        return [json.loads(line) for line in self.calls.read_text().splitlines()] if self.calls.exists() else []


class _JobRun:
    def __init__(self, runner: Runner, name: str, workflow: dict, job: dict, contexts: dict[str, Any]) -> None:
        self.runner, self.job, self.contexts = runner, job, {**contexts, "steps": {}}
        self.defaults = {**workflow.get("env", {}), **job.get("env", {})}
        self.shell = workflow["defaults"]["run"]["shell"]
        self.home = runner.directory / name
        shutil.rmtree(self.home, ignore_errors=True)
        self.workspace = self.home / "workspace"
        self.workspace.mkdir(parents=True)
        self.files = {n: self.home / n for n in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")}
        self.exported: dict[str, str] = {}
        self.path = [str(STUBS), os.environ["PATH"]]
        self.log: list[str] = []
        self.name = workflow["name"]

    def run(self, trigger: Trigger) -> Job:
        (self.home / "event.json").write_text(json.dumps(trigger.event), encoding="utf-8")
        result = "success"
        for step in self.job["steps"]:
            if not _holds(step.get("if", ""), self.contexts, result == "success"):
                continue
            good = self._action(step) if "uses" in step else self._command(step)
            if not good and not step.get("continue-on-error"):
                result = "failure"
        outputs = filled(self.job.get("outputs", {}), self.contexts)
        summary = self.files["STEP_SUMMARY"]
        return Job(result, outputs, "".join(self.log), summary.read_text() if summary.exists() else "")

    def _action(self, step: dict) -> bool:
        action = step["uses"].partition("@")[0]
        self.log.append(f"[{action}]\n")
        return ACTIONS[action](self, filled(step.get("with", {}), self.contexts))

    def _command(self, step: dict) -> bool:
        """Run a step as GitHub's bash does."""
        assert self.shell == "bash", "the only shell that this test runs"
        script = self.home / "step.sh"
        script.write_text(filled(step["run"], self.contexts), encoding="utf-8")
        own = filled({**self.defaults, **step.get("env", {})}, self.contexts)
        for name in ("OUTPUT", "ENV", "PATH"):
            self.files[name].write_text("")
        done = subprocess.run(
            ["/bin/bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workspace,
            env={**self._environment(), **self.exported, **{name: str(value) for name, value in own.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self.log.append(f"$ {step['run']}\n{done.stdout}")
        self.exported |= _assignments(self.files["ENV"])
        self.path[:0] = self.files["PATH"].read_text().splitlines()
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outputs": _assignments(self.files["OUTPUT"])}
        return done.returncode == 0

    def _environment(self) -> dict[str, str]:
        github = self.contexts["github"]
        return {
            **{name: os.environ[name] for name in MACHINE if name in os.environ},
            **self.runner.environment,
            **{f"GITHUB_{name}": str(path) for name, path in self.files.items()},
            **{"GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_RUN_ID": "42", "GITHUB_WORKFLOW": self.name},
            **{"GITHUB_REPOSITORY": github["repository"], "GITHUB_REPOSITORY_OWNER": github["repository_owner"]},
            **{"GITHUB_SHA": github["sha"], "GITHUB_EVENT_NAME": github["event_name"], "GITHUB_REF": github["ref"]},
            "GITHUB_EVENT_PATH": str(self.home / "event.json"),
            "PATH": ":".join(self.path),
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "PYTHONPATH": str(self.home / "site"),  # the checkout's code, not that of the installed package
            "STUB_CALLS": str(self.runner.calls),
        }

    def checkout(self, options: dict) -> bool:
        assert options["persist-credentials"] is False
        depth = options.get("fetch-depth", 1)
        some = [f"--depth={depth}"] if depth else []
        run_git(self.workspace, "init", "-q")
        run_git(self.workspace, "fetch", "-q", *some, self.runner.origin.as_uri(), self.contexts["github"]["sha"])
        run_git(self.workspace, "checkout", "-q", "FETCH_HEAD")
        (self.workspace / ".venv").symlink_to(self.runner.venv)
        for name in ("pyproject.toml", "constraints.txt"):
            os.utime(self.workspace / name, (0, 0))  # older than the environment: make does not install it again
        (self.home / "site").mkdir()
        (self.home / "site" / "kfp_textclf").symlink_to(self.workspace)
        return True

    def upload(self, options: dict) -> bool:
        target = self.runner.artifacts / options["name"]
        for path in (path for pattern in options["path"].split() for path in self.workspace.glob(pattern)):
            target.mkdir(parents=True, exist_ok=True)
            shutil.copytree(path, target, dirs_exist_ok=True) if path.is_dir() else shutil.copy(path, target)
        return True

    def download(self, options: dict) -> bool:
        source = self.runner.artifacts / options["name"]
        if not source.is_dir():
            return False
        shutil.copytree(source, self.workspace / options["path"], dirs_exist_ok=True)
        return True

    def log_in(self, options: dict) -> bool:
        return bool(options["username"] and options["password"])

    def assume_role(self, options: dict) -> bool:
        return options["role-to-assume"].startswith("arn:") and bool(options["aws-region"])


def _nothing(run: _JobRun, options: dict) -> bool:
    return True


ACTIONS: dict[str, Callable[[_JobRun, dict], bool]] = {
    "actions/checkout": _JobRun.checkout,
    "actions/setup-python": _nothing,
    "actions/upload-artifact": _JobRun.upload,
    "actions/download-artifact": _JobRun.download,
    "aws-actions/configure-aws-credentials": _JobRun.assume_role,
    "docker/login-action": _JobRun.log_in,
    "docker/setup-buildx-action": _nothing,
}


def _holds(condition: Any, contexts: Mapping[str, Any], good: bool) -> bool:
    """Return whether a job or a step runs; without a function of its own a condition asks for success, too."""
    functions = {"always": lambda: True, "success": lambda: good, "failure": lambda: not good}
    own = any(f"{name}()" in str(condition) for name in functions)
    return bool(evaluate(str(condition) or "true", contexts, functions)) and (own or good)


def _assignments(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if line)


def pull_request(origin: Path, message: str) -> str:
    """Commit what was changed as a branch; return its merge into main, which GitHub makes for a pull request."""
    run_git(origin, "checkout", "-q", "-b", "change")
    run_git(origin, "add", "--all")
    run_git(origin, "commit", "-qm", message)
    run_git(origin, "checkout", "-q", "--detach", "main")
    run_git(origin, "merge", "-q", "--no-ff", "-m", "Merge", "change")
    return run_git(origin, "rev-parse", "HEAD")
