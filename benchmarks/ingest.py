"""How fast `ingest_dataset` fetches one large object from a local S3 server, beside boto3's download alone.

python benchmarks/ingest.py [--megabytes 1000] [--pairs 5]      (make bench-ingest)

Ours is the whole step: download, md5 and sha256 of every byte, manifest. boto3 downloads with its defaults and checks
nothing. They take turns, so that what else the machine does meets both; the ratio is that of the median throughputs.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.ingest.stage import ingest
from kfp_textclf.pipelines.dev_s3 import s3_server

RESULT = Path(__file__).parent / "results" / "ingest.json"
TARGET = 0.9
MEGABYTE = 1_000_000


def measure(megabytes: int, pairs: int, directory: Path) -> dict[str, Any]:
    """Return throughputs in MB/s and processor seconds of both, and their ratio.

    Args:
        megabytes: Size of the object.
        pairs: Measurements of each.
        directory: An empty directory for the server and the copies.
    """
    import boto3

    with s3_server(directory / "server") as server:
        os.environ.update(server.environment)
        md5 = _upload(f"s3://{server.bucket}", megabytes, directory / "source")
        size = megabytes * MEGABYTE
        file = {"path": "object", "md5": md5, "size": size, "uri": f"s3://{server.bucket}/object"}
        client = boto3.client("s3")
        ways: dict[str, Callable[[], object]] = {
            "ingest": lambda: ingest({"store": "", "git_rev": "", "files": [file]}, str(directory / "ours")),
            "boto3": lambda: client.download_file(server.bucket, "object", str(directory / "theirs")),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for pair in range(pairs):
            for name in sorted(ways, reverse=bool(pair % 2)):
                seconds[name].append(_timed(ways[name]))
                shutil.rmtree(directory / "ours", ignore_errors=True)
                (directory / "theirs").unlink(missing_ok=True)
    ours, theirs = (_summary(seconds[name], megabytes) for name in ("ingest", "boto3"))
    return {
        "ratio": round(ours["mb_per_s"]["median"] / theirs["mb_per_s"]["median"], 3),
        "target": TARGET,
        "megabytes": megabytes,
        "pairs": pairs,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 1),
        "ingest": ours,
        "boto3": theirs,
    }


def _upload(store: str, megabytes: int, source: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("wb") as file:
        for _ in range(megabytes):
            block = os.urandom(MEGABYTE)
            digest.update(block)
            file.write(block)
    open_store(store).upload(source, "object")
    source.unlink()
    return digest.hexdigest()


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that passed, and those of this process's processor time."""
    start, used = time.perf_counter(), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):  # the step's progress
        work()
    return time.perf_counter() - start, time.process_time() - used


def _summary(runs: list[tuple[float, float]], megabytes: int) -> dict[str, Any]:
    speeds = [round(megabytes / wall, 1) for wall, _ in runs]
    return {
        "mb_per_s": {"min": min(speeds), "median": round(statistics.median(speeds), 1), "max": max(speeds)},
        "runs_mb_per_s": speeds,
        "cpu_s": round(statistics.median(cpu for _, cpu in runs), 2),
    }


def main(arguments: list[str]) -> int:
    """Measure and write the result; return 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as directory:
        result = measure(options.megabytes, options.pairs, Path(directory))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return int(result["ratio"] < TARGET)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
