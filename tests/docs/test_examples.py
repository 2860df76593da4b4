"""The example of the documentation compiles, and runs on this machine."""

import runpy
from pathlib import Path

import yaml
from kfp import compiler, local
from support import CITIES, tiny_rows, write_csv

from kfp_textclf.pipelines.sources import CHECKOUT

EXAMPLE = CHECKOUT / "docs" / "examples" / "count_labels.py"


def test_example_runs_and_compiles(tmp_path: Path):
    example = runpy.run_path(str(EXAMPLE))
    texts = write_csv(tmp_path / "texts.csv", tiny_rows(CITIES[:10]))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    counts = example["pipeline"](dataset_pin=example["pin"](texts)).output
    assert set(counts) == {"flight", "fare", "meal"}
    assert sum(counts.values()) == 90 * 0.9 * 0.9 // 1
    compiler.Compiler().compile(example["pipeline"], str(tmp_path / "count_labels.yaml"))
    spec = next(yaml.safe_load_all((tmp_path / "count_labels.yaml").read_text()))
    assert set(spec["root"]["dag"]["tasks"]) == {"ingest-dataset", "prepare-dataset", "count-labels"}
