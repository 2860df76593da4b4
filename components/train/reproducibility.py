"""The same computation giving the same bits, and a record of what could make it give others (docs/determinism.md)."""

import os
from importlib.metadata import version
from typing import Any

from kfp_textclf.components.common.hardware import available_cpus


def make_deterministic(processes: int = 1) -> None:
    """Use as many threads, in all processes, as there are CPUs, and GPU kernels that always add in the same order."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch

    torch.set_num_threads(max(1, available_cpus() // processes))
    if torch.cuda.is_available():  # on a CPU the kernels are such already, and the setting would only cost time
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def environment() -> dict[str, Any]:
    """Return what the bits of a training depend on besides its inputs: threads, devices and library versions."""
    import torch

    return {
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpus": gpu_names(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "accelerate": version("accelerate"),
    }


def gpu_names() -> list[str]:
    """Return the names of the GPUs that this process may use, as CUDA reports them."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
