"""What ``make run`` takes outside the stages' own work, against the first ``make run`` that landed.

python benchmarks/overhead.py [--rounds 2] [--epochs 4]        (make bench ONLY=overhead)

A run is timed as a whole, and the call of each stage in it (benchmarks/own_work); what a stage imports inside that call
is no work of its own. The first ``make run`` is that of commit FIRST, checked out below build/bench and run with the
libraries that are installed now.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure

MACHINE = measure.pin(threads=2)

import work  # noqa: E402  (after the threads are pinned)

SCRIPT = "overhead"
FIRST = "93abef5fdbc661572d07b1f50540d5e1a21f175b"
HALVED, SHARE = 2, 0.15
OWN_WORK = Path(__file__).parent / "own_work"


def first_checkout() -> Path:
    """Return a checkout of the first landed run, made when it is not there.

    Raises:
        RuntimeError: This is no clone with its history.
    """
    place = work.CACHE / f"first-{FIRST[:12]}"
    if not place.is_dir():
        half = place.with_name(f".{place.name}")
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        archive = subprocess.run(  # noqa: S603
            ["git", "archive", FIRST],  # noqa: S607
            cwd=work.ROOT,
            capture_output=True,
            check=False,
        )
        if archive.returncode:
            raise RuntimeError(f"commit {FIRST} is not here; clone the repository with its whole history")
        subprocess.run(["tar", "-x"], cwd=half, input=archive.stdout, check=True)  # noqa: S607
        package = half / "package" / "kfp_textclf"
        package.mkdir(parents=True)
        for part in ("components", "pipelines"):
            (package / part).symlink_to(Path("../..") / part)
        half.rename(place)
    return place


def run(checkout: Path, epochs: int) -> dict[str, Any]:
    """Run the pipeline on the sample, from nothing; return its seconds, and those of every stage.

    Args:
        checkout: Whose code and parameters to run.
        epochs: Of the training.
    """
    with tempfile.TemporaryDirectory(prefix="bench-overhead-") as scratch:
        record = Path(scratch) / "own.jsonl"
        package = [str(checkout / "package")] if (checkout / "package").is_dir() else []
        search = os.pathsep.join([str(OWN_WORK), *package])
        environment = {**os.environ, "OWN_WORK": str(record), "PYTHONPATH": search}
        module = "cli" if package else "start"
        command = [sys.executable, "-m", f"kfp_textclf.pipelines.{module}", "run", "--runs", f"{scratch}/runs"]
        settings = [f"--set=train.epochs={epochs}", "--set=evaluate.floor=-1", "--set=evaluate.min_baseline_gain=-2"]
        started = time.perf_counter()
        done = subprocess.run([*command, *settings], cwd=checkout, env=environment, capture_output=True, text=True)  # noqa: S603
        total = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        stages = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        steps = json.loads((Path(scratch) / "runs/latest/metrics.json").read_text(encoding="utf-8"))["steps"]
    own = {stage["stage"]: stage["seconds"] - stage["imports"] for stage in stages}
    apart = {step["name"]: step["seconds"] - own.get(_stage(step["name"]), 0.0) for step in steps}
    apart["start, compiling, between steps, report"] = total - sum(step["seconds"] for step in steps)
    return {"total": total, "own": own, "apart": apart, "overhead": total - sum(own.values())}


def _stage(step: str) -> str:
    """Return the stage of a step: its name begins with it."""
    return step.split("-")[0]


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4, help="of the training; the overhead does not depend on it")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {"first": [], "now": []}
    places = {"first": first_checkout(), "now": work.ROOT}
    for _ in range(options.rounds):
        for name, place in places.items():
            runs[name].append(run(place, options.epochs))
            print(name, {key: round(runs[name][-1][key], 2) for key in ("total", "overhead")}, flush=True)
    middle = {name: sorted(of, key=lambda each: each["overhead"])[len(of) // 2] for name, of in runs.items()}
    first, now = middle["first"], middle["now"]
    share = now["overhead"] / now["total"]
    steps = f"{len(first['apart']) - 1} steps then, {len(now['apart']) - 1} now"
    measure.record(
        "overhead_vs_first",
        first["overhead"] / now["overhead"],
        HALVED,
        now["overhead"],
        first["overhead"],
        "s",
        script=SCRIPT,
        against=f"the first make run that landed (commit {FIRST[:12]}), with the libraries installed now: {steps}",
        limit="loading torch and transformers once is most of what is left",
        rest="interpreter, kfp, compiling, the report and its drawings",
    )
    measure.record(
        "overhead_share",
        SHARE / share,
        1,
        share,
        SHARE,
        "of the run",
        script=SCRIPT,
        against="15 % of the whole run",
        notes=f"{options.epochs} epochs of training; {now['overhead']:.1f} s of {now['total']:.1f} s.",
    )
    names = list(dict.fromkeys([*now["apart"], *first["apart"]]))
    rows = [
        [name, *(f"{side['apart'][name]:.2f}" if name in side["apart"] else "" for side in (first, now))]
        for name in names
    ]
    table = {"title": "Seconds outside the stages' own work", "columns": ["step", "first", "now"], "rows": rows}
    measure.save(SCRIPT, title="Pipeline overhead", machine=MACHINE, runs=runs, tables=[table])


if __name__ == "__main__":
    main()
