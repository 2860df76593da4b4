"""Train the same thing again: with the same threads, with another number of them, and with checkpoints taken.

    python benchmarks/determinism.py

Writes benchmarks/results/determinism.json: for each training, the sha256 of its weights and its validation metrics.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import preemption

from kfp_textclf.components.common.artifacts import read_json, sha256_of

RESULTS = preemption.RESULTS.with_name("determinism.json")


def train(scratch: Path, name: str, arguments: dict[str, Any], cpus: set[int], durable: bool = False) -> dict[str, Any]:
    """Train in a process of its own that may use some CPUs; return what came of it."""
    uri = (scratch / "checkpoints").as_uri() if durable else ""
    job = {**arguments, "output": str(scratch / name), "checkpoint_uri": uri}
    config = scratch / "work.json"
    config.write_text(json.dumps(job), encoding="utf-8")
    command = ["taskset", "--cpu-list", ",".join(map(str, cpus)), sys.executable, preemption.__file__, "--work", config]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"})  # noqa: S603
    record = read_json(scratch / name / "training.json")
    weights = sha256_of(scratch / name / "model.safetensors")
    return {"sha256": weights, "validation": record["validation"], "environment": record["environment"]}


def main() -> None:
    """Run the comparison."""
    every = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="bench-determinism-") as directory:
        scratch = Path(directory)
        arguments = preemption.make_inputs(scratch)
        results = {
            "first": train(scratch, "first", arguments, every),
            "again": train(scratch, "again", arguments, every),
            "with checkpoints": train(scratch, "with-checkpoints", arguments, every, durable=True),
            "one thread": train(scratch, "one-thread", arguments, {min(every)}),
        }
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
