"""The whole pipeline in the real containers, with the tiny model."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import read

from kfp_textclf.pipelines.containers import RUN_LABEL

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("built")]

QUALITY = ("accuracy", "macro_f1", "matthews_correlation")


def of_runs(engine, root: Path) -> list:
    """Return the containers of the runs below a directory."""
    listed = engine.containers.list(all=True, filters={"label": RUN_LABEL}, ignore_removed=True)
    return [container for container in listed if container.labels[RUN_LABEL].startswith(str(root))]


def test_a_run_in_containers_equals_one_in_processes(engine, project: SimpleNamespace):
    contained = project.run("run", "--runner", "docker")
    assert contained.code == 0, contained.err
    assert of_runs(engine, project.root) == []
    here = project.run("run", "--runs", "here")
    assert here.code == 0, here.err
    first, second = read(project.runs / "latest/metrics.json"), read(project.root / "here/latest/metrics.json")
    for variant, figures in second["variants"].items():
        for name in QUALITY:
            assert first["variants"][variant][name] == pytest.approx(figures[name], abs=1e-6), (variant, name)
    assert first["verdict"] == second["verdict"] == "promote"
    assert [step["name"] for step in first["steps"]] == [step["name"] for step in second["steps"]]
    assert not any(step["cached"] for step in first["steps"])
    owners = {path.stat().st_uid for path in project.runs.rglob("*")}
    assert owners == {project.root.stat().st_uid}

    again = project.run("run", "--runner", "docker")
    assert again.code == 0, again.err
    repeated = read(project.runs / "latest/metrics.json")
    assert [step["cached"] for step in repeated["steps"]] == [False] + [True] * 6 + [False, False]


def test_what_is_wrong_with_the_data_is_one_line_from_a_container_too(project: SimpleNamespace):
    (project.data / "train.csv").write_text("flight,to boston\n" * 20, encoding="utf-8")
    done = project.run("run", "--runner", "docker")
    assert done.code == 2
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.err
    here = project.run("run", "--runs", "here")
    assert [line for line in here.err.splitlines() if line.startswith("error: ")] == errors


def test_a_step_without_enough_memory_is_one_line(project: SimpleNamespace):
    done = project.run("run", "--runner", "docker", "--memory", "100m")
    assert done.code == 2, done.err
    assert "the step needs more memory than 100m; allow more with --memory" in done.err.splitlines()[-1]


def test_a_missing_image_is_one_line(project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    code = (
        "import sys; from kfp_textclf.pipelines import containers\n"
        "containers.current_images = lambda: dict.fromkeys(('cpu', 'export', 'gpu'), 'kfp-textclf-none:0')\n"
        "sys.argv[1:] = ['run', '--runner', 'docker']\n"
        "from kfp_textclf.pipelines.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: image kfp-textclf-none:0: is not here; build it with `make images`, or pull it\n"


def test_a_killed_run_leaves_no_container(engine, project: SimpleNamespace):
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "run", "--runner", "docker"]
    process = subprocess.Popen(command, cwd=project.root, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if re.search(r"\[5/9\].*train-classifier", line):
            break
    deadline = time.monotonic() + 30
    while not (running := of_runs(engine, project.root)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running
    settings = running[0].attrs["HostConfig"]
    assert settings["NetworkMode"] == "none"
    assert settings["ReadonlyRootfs"]
    assert settings["Memory"] == 8 << 30
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = time.monotonic()
    while of_runs(engine, project.root):
        assert time.monotonic() < killed + 20
        time.sleep(0.1)

    done = project.run("run", "--runner", "docker")
    assert done.code == 0, done.err
    resumed = read(project.runs / "latest/metrics.json")
    assert [step["cached"] for step in resumed["steps"]][1:5] == [True, True, True, False]
