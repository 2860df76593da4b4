"""What this process may use of the machine."""

import os
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available_cpus() -> int:
    """Return the number of CPUs that this process may use: its affinity, cut by the cgroup quota (``cpu.max``).

    Inference and training libraries count the machine's cores instead, and then run slower in a small pod
    (microsoft/onnxruntime#29510).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return cpus
    return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
