"""The newcomer's run: the committed sample and the real packaged MiniLM."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import read

from kfp_textclf.pipelines.sources import COMPONENTS

ROOT = COMPONENTS.parent


@pytest.mark.slow
def test_the_sample_ends_in_a_promoted_model_that_beats_the_baselines(tmp_path: Path):
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "run", "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = read(tmp_path / "latest" / "metrics.json")
    torch, int8 = metrics["variants"]["torch"], metrics["variants"]["onnx_int8"]
    assert metrics["verdict"] == "promote", metrics["reason"]
    assert int8["matthews_correlation"] > metrics["baselines"]["tfidf_svm"]["matthews_correlation"] + 0.02
    assert int8["matthews_correlation"] > torch["matthews_correlation"] - 0.01
    assert int8["size_bytes"] < 0.3 * torch["size_bytes"]
    dropped = metrics["dataset"]["dropped"]
    assert all(dropped[rule] > 0 for rule in ("duplicates_dropped", "leaked_dropped", "conflicting_texts"))
    predict = [*command[:3], "predict", str(tmp_path / "latest" / "models" / "published")]
    answer = subprocess.run([*predict, "what is the cheapest fare to oslo"], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\t")[0] == "airfare"
