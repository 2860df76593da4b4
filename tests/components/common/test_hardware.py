"""How many CPUs a process may use."""

import os
from pathlib import Path

import pytest

from kfp_textclf.components.common import hardware


@pytest.fixture
def cpu_max(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cgroup's quota file, on a machine whose affinity is eight CPUs."""
    monkeypatch.setattr(hardware, "CPU_MAX", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("content", "cpus"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("nonsense\n", 8),
    ],
    ids=["no quota", "two CPUs", "two and a half", "half a CPU", "more than the affinity", "unreadable"],
)
def test_quota_cuts_the_affinity(cpu_max: Path, content: str, cpus: int) -> None:
    cpu_max.write_text(content)
    assert hardware.available_cpus() == cpus


def test_affinity_counts_where_there_is_no_cgroup(cpu_max: Path) -> None:
    assert not cpu_max.exists()
    assert hardware.available_cpus() == 8


def test_all_cpus_count_where_there_is_no_affinity(cpu_max: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert hardware.available_cpus() == 3
