"""The benchmark of ingest, on a small object."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import read

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ingest.py"


@pytest.mark.s3
def test_benchmark_measures_both_and_writes_the_ratio(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--megabytes=3", "--pairs=2", f"--output={tmp_path / 'x.json'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    result = read(tmp_path / "x.json")
    medians = [result[name]["mb_per_s"]["median"] for name in ("ingest", "boto3")]
    assert result["ratio"] == pytest.approx(medians[0] / medians[1], rel=0.01)
    assert done.returncode == (result["ratio"] < result["target"])
    assert (result["target"], result["megabytes"], len(result["ingest"]["runs_mb_per_s"])) == (0.9, 3, 2)
