"""The process that executes a compiled pipeline with ``kfp.local``; started by `local_run`.

    python -m kfp_textclf.pipelines.local_worker JOB.json

It is a process of its own because kfp.local changes global state (print, logging), and so that a killed run leaves
nothing
behind: when the starting process goes, the pipe on standard input ends and the whole process group with it.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from kfp_textclf.pipelines import containers, local_steps


def _die_with_parent(run: str, in_containers: bool) -> None:
    while os.read(sys.stdin.fileno(), 1024):  # not the buffered reader: its lock would be held at exit
        pass
    if in_containers:  # they are no children of this process: what removes them outlives it, and sees the last one
        subprocess.Popen([sys.executable, "-m", containers.__name__, run], start_new_session=True)  # noqa: S603
    os.killpg(0, signal.SIGKILL)


def _plain(value: Any) -> Any:
    uri = getattr(value, "uri", None)
    return value if uri is None else {"uri": uri, "metadata": value.metadata}


def _for_one_machine(compiled: Path) -> None:
    """Let loops run one iteration after the other, as two trainings here only wait for each other; retry nothing.

    A retry is for a node that was lost. Here it would repeat what the user has to mend.
    """
    text = compiled.read_text(encoding="utf-8")
    text = re.sub(r"parallelismLimit: \d+", "parallelismLimit: 1", text)
    compiled.write_text(re.sub(r"maxRetryCount: \d+", "maxRetryCount: 0", text), encoding="utf-8")


def main(job_file: str) -> None:
    """Compile the pipeline, run it, and write its outputs.

    Args:
        job_file: JSON with ``run``, ``pipeline_root``, ``cache_root``, ``workspace_root``, ``compiled``, ``outputs``
            (paths), ``pipeline``, ``arguments``, ``caching``, ``memory`` (empty: no containers).
    """
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    threading.Thread(target=_die_with_parent, args=(job["run"], bool(job["memory"])), daemon=True).start()
    warnings.filterwarnings("ignore", category=RuntimeWarning, message="You may be attemping")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")  # cache hits are logged at INFO

    local_steps.import_kfp()
    if not job["memory"]:
        local_steps.install()
    from kfp import compiler, components, local

    from kfp_textclf.pipelines import local_cache

    local_cache.install()
    pipeline = getattr(import_module(f"kfp_textclf.pipelines.{job['pipeline']}"), job["pipeline"])
    compiler.Compiler().compile(pipeline, job["compiled"])
    _for_one_machine(Path(job["compiled"]))
    in_containers = containers.docker_runner(job["run"], job["memory"]) if job["memory"] else None
    local.init(
        in_containers or local.SubprocessRunner(use_venv=False),
        pipeline_root=job["pipeline_root"],
        workspace_root=job["workspace_root"],  # kfp.local removes this directory
        raise_on_error=True,
        enable_caching=job["caching"],
        cache_root=job["cache_root"],
    )
    task = components.load_component_from_file(job["compiled"])(**job["arguments"])
    outputs = {name: _plain(value) for name, value in task.outputs.items()}
    Path(job["outputs"]).write_text(json.dumps(outputs), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
