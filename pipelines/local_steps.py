"""The steps of a run on this machine, as forked processes: what they need is imported once, while earlier steps run.

``kfp.local`` starts a shell and an interpreter for each step, which import everything again: seconds for torch alone.
Here the heavy steps are forked from a server that has the libraries loaded, which begins to load them before the
pipeline is compiled; the others are forked from the process that runs the pipeline. The command, the executor and the
files of a step are those of kfp.
"""

import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

HEAVY = ("train_classifier", "train_candidate", "export_onnx", "evaluate_model")  # functions of components
LIBRARIES = (  # of the heavy steps
    "kfp.dsl.executor_main",
    "torch",
    "transformers.trainer",
    "transformers.models.auto.modeling_auto",
    "pyarrow.parquet",
    "onnxruntime.quantization",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "sklearn.feature_extraction.text",
    "sklearn.svm",
)
RUNTIME = "_KFP_RUNTIME"  # kfp is then imported without its client, which takes kubernetes along, and seconds
SCHEMAS = "kubernetes_validate"  # kubernetes takes them along where they are installed, and seconds


def import_kfp() -> None:
    """Import kfp without its client, and without the schemas that kubernetes takes along where they are installed."""
    sys.modules[SCHEMAS] = None  # type: ignore[assignment]
    with _without_client():
        import_module("kfp")


def install() -> None:
    """Let ``kfp.local`` run steps in this way, and begin to load what the heavy ones need."""
    multiprocessing.set_forkserver_preload(list(LIBRARIES))
    with _without_client():
        forkserver.ensure_running()
    import_module("kfp.dsl.executor_main")
    from kfp.local import subprocess_task_handler

    subprocess_task_handler.run_local_subprocess = run_step


@contextmanager
def _without_client() -> Iterator[None]:
    """Let what is begun meanwhile, here or in a new process, import kfp without its client."""
    os.environ[RUNTIME] = "true"
    yield
    del os.environ[RUNTIME]


def run_step(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """Run a step to its end; its output goes where that of this process goes.

    Args:
        full_command: ``sh -ec SCRIPT SOURCE ARGUMENT...``, as kfp compiles lightweight Python components.
        env_vars: Variables to set for the step.

    Returns:
        Its exit code; negative: the number of the signal that ended it.
    """
    source, *arguments = full_command[3:]
    heavy = arguments[arguments.index("--function_to_execute") + 1] in HEAVY
    context: Any = multiprocessing.get_context("forkserver" if heavy else "fork")
    step = context.Process(target=_execute, args=(source, arguments, dict(env_vars or {})))
    step.start()
    step.join()
    return step.exitcode or 0


def _execute(source: str, arguments: list[str], variables: dict[str, str]) -> None:
    """Do in this process what the script of the command does."""
    from kfp.dsl import executor_main

    os.environ |= {RUNTIME: "true", **variables}
    logging.getLogger().handlers.clear()
    file = Path(tempfile.mkdtemp()) / "ephemeral_component.py"
    file.write_text(source, encoding="utf-8")
    sys.argv = [executor_main.__file__, "--component_module_path", str(file), *arguments]
    executor_main.executor_main()
