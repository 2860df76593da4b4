"""A sample of `make bench-preemption`: real processes, really killed; and the committed result of the whole."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import read

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("store", "kills"), [("local", 3), pytest.param("s3", 2, marks=pytest.mark.s3)])
def test_killed_trainings_end_with_the_weights_of_an_undisturbed_one(store: str, kills: int, tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "preemption.py")
    options = ["--kills", str(kills), "--stores", store, "--seed", "5", "--output", str(tmp_path / "result.json")]
    done = subprocess.run([sys.executable, script, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_promises_kept(read(tmp_path / "result.json"), kills)


def test_the_committed_result_keeps_the_promises() -> None:
    result = read(ROOT / "benchmarks" / "results" / "preemption.json")
    assert_promises_kept(result, 50)
    assert result["by_store"].keys() == {"local", "s3"}


def assert_promises_kept(result: dict, kills: int) -> None:
    assert result["kills"] == result["finished"] == result["identical"] == kills
    assert result["exit_zero_on_sigterm"] == 0
    assert result["max_steps_lost"] <= result["checkpoint_steps"]
    assert len(result["details"]) == kills
