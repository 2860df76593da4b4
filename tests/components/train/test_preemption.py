"""SIGTERM, to the command that Kubeflow runs in the container."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from kfp_textclf import components
from kfp_textclf.components.train.preemption import Preempted, watch_sigterm


@pytest.fixture
def step(prepared: Path, tiny_model: Path, tmp_path: Path):
    """The command of the compiled component, with kfp's executor input."""
    spec = yaml.safe_load((Path(components.__path__[0]) / "train" / "component.yaml").read_text())
    (executor,) = spec["deploymentSpec"]["executors"].values()
    defaults = spec["root"]["inputDefinitions"]["parameters"]
    parameters = {
        name: int(entry["defaultValue"]) if entry["parameterType"] == "NUMBER_INTEGER" else entry["defaultValue"]
        for name, entry in defaults.items()
        if "defaultValue" in entry
    }
    parameters |= {"base_model": tiny_model.as_uri(), "epochs": 300, "learning_rate": 3e-3, "precision": "fp32"}
    parameters |= {"checkpoint_uri": (tmp_path / "checkpoints").as_uri(), "early_stopping_patience": 0}

    def artifact(name: str, uri: Path) -> dict:
        return {"artifacts": [{"name": name, "uri": str(uri), "metadata": {}, "type": {"schemaTitle": "system.Model"}}]}

    outputs = {name: artifact(name, tmp_path / name) for name in ("model", "metrics", "report")}
    given = {
        "inputs": {"parameterValues": parameters, "artifacts": {"dataset": artifact("dataset", prepared)}},
        "outputs": {"artifacts": outputs, "outputFile": str(tmp_path / "output.json")},
    }
    container = executor["container"]
    return [json.dumps(given) if part == "{{$}}" else part for part in [*container["command"], *container["args"]]]


def test_the_containers_command_ends_with_143_after_a_checkpoint(step: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = subprocess.Popen(step, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("checkpoints/**/manifest.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(child(process.pid), signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 143
    assert "stopped by SIGTERM at step" in output
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "output.json").exists()
    newest = max(tmp_path.glob("checkpoints/*/train/step-*"), key=lambda path: int(path.name[5:]))
    assert (newest / "manifest.json").is_file()
    assert f"stopped by SIGTERM at step {newest.name[5:]} of" in output


def child(pid: int) -> int:
    """Return the Python process below a shell, or the process itself when the shell has become it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


def test_the_handler_of_before_is_back_after_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with watch_sigterm() as preemption:
        assert not preemption.requested
        os.kill(os.getpid(), signal.SIGTERM)
        assert preemption.requested
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_trains_without_watching() -> None:
    seen: list[bool] = []

    def run() -> None:
        with watch_sigterm() as preemption:
            seen.append(preemption.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


def test_preempted_ends_the_process() -> None:
    with pytest.raises(SystemExit) as ended:
        raise Preempted
    assert ended.value.code == 143
