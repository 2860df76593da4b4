"""Measuring side by side, and keeping what was measured.

Every figure of ``make bench`` is a ratio of medians of interleaved runs (A B A B ...) in one process group:

    machine = pin(threads=2)                      # before torch or onnxruntime are imported
    figures = interleaved({"ours": ours, "tutorial": theirs}, rounds=5)
    ratio = figures["tutorial"].median / figures["ours"].median
    record("training_albert", ratio, 14, a=..., b=..., unit="rows/s", script="training", limit="...", rest="...")
    save("training", machine=machine, figures={name: spread.dict() for name, spread in figures.items()})

`record` merges one row into ``results/ratios.json``; `save` merges raw figures into ``results/<script>.json``. The page
``docs/performance.md`` is written from these two alone (``benchmarks/page.py``), so a script gives its own words:

- ``record(..., against=, limit=, rest=, notes=)``: what the row is compared with, how far it is from the limit
  (measured peak, memory bandwidth, tokenizer speed), what takes the rest, and what else a reader should know.
- ``save(script, title=, notes=[...])``: heading and paragraphs of the script's section, Markdown.
- ``save(script, tables=[{"title": ..., "columns": [...], "rows": [[...], ...]}])``: tables of the section.
- ``save(script, plots=[{"name": file name, "x": labels, "panels": {title: {line: [[x, y], ...]}}, "log": True}])``:
  drawings of the section; ``x`` has a label for each panel; ``log`` is for logarithmic axes.

Everything else that `save` is given is kept in the JSON and not shown.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
RATIOS = "ratios.json"
LIBRARIES = ("torch", "transformers", "onnx", "onnxruntime", "tokenizers", "numpy")
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_bf16", "amx_int8")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing, in the order in which they were made."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def dict(self) -> dict[str, Any]:
        """Return minimum, median, maximum and all values, for JSON."""
        return {"min": min(self.values), "median": self.median, "max": max(self.values), "values": list(self.values)}


def pin(threads: int = 2) -> dict[str, Any]:
    """Keep this process and its children to some CPUs and as many threads; call it before heavy imports.

    Returns:
        The machine: CPU model, its relevant instruction sets, threads, versions; for `save`.
    """
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cpus)
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(len(cpus)))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve each other where a core is shared
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(len(cpus))
    return machine(len(cpus))


def machine(threads: int) -> dict[str, Any]:
    """Return what figures depend on besides the code."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in info.split("\n\n")[0].splitlines() if ":" in line)
    known = {name.strip(): value.strip() for name, value in fields.items()}
    names = ("model name", "cpu family", "model")
    return {
        "cpu": ", ".join(f"{name} {known[name]}" if name != "model name" else known[name] for name in names),
        "cpu_flags": [flag for flag in CPU_FLAGS if flag in known.get("flags", "").split()],
        "threads": threads,
        "python": platform.python_version(),
        "versions": {name: installed for name in LIBRARIES if (installed := _version(name))},
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def interleaved(work: Mapping[str, Callable[[], float | None]], rounds: int = 5, warm_up: int = 1) -> dict[str, Spread]:
    """Run several pieces of work in turns, A B A B ..., and return the figures of each.

    Args:
        work: By name. One that returns a number is measured by it (seconds that a child process reports, say); of one
            that returns None the wall-clock seconds are taken.
        rounds: Measurements of each.
        warm_up: Turns before these, which are thrown away.
    """
    figures: dict[str, list[float]] = {name: [] for name in work}
    for number in range(warm_up + rounds):
        for name, run in work.items():
            started = time.perf_counter()
            own = run()
            figure = time.perf_counter() - started if own is None else own
            if number >= warm_up:
                figures[name].append(figure)
    return {name: Spread(tuple(values)) for name, values in figures.items()}


def child(*command: str, **environment: str) -> dict[str, Any]:
    """Run a Python process with these arguments, and return the JSON object of the last line that it prints.

    Args:
        command: Arguments of the interpreter, such as a script and its arguments.
        environment: Variables to set besides those of this process.

    Raises:
        RuntimeError: It failed; the message ends with what it wrote.
    """
    environ = {**os.environ, **environment}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, env=environ)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def record(
    name: str,
    ratio: float,
    target: float,
    a: float,
    b: float,
    unit: str,
    *,
    script: str,
    against: str = "",
    limit: str = "",
    rest: str = "",
    notes: str = "",
) -> None:
    """Keep one row, and print it.

    Args:
        name: Of the row, such as ``training_albert``.
        ratio: Higher is better.
        target: What the ratio should reach.
        a: Median of ours.
        b: Median of what it is compared with.
        unit: Of both.
        script: Which script measured it, and whose section of the page it belongs to.
        against: What ``b`` is.
        limit: How far ``a`` is from what the machine can do, and how that was measured.
        rest: What takes the rest.
        notes: What else a reader should know.
    """
    _merge(RATIOS, {name: {"ratio": ratio, "target": target, "a": a, "b": b, "unit": unit}})
    words = {"against": against, "limit": limit, "rest": rest, "notes": notes}
    _merge(f"{script}.json", {"rows": {name: words}})
    verdict = "met" if ratio >= target else "missed"
    print(f"{name:<40} {ratio:8.3f}  target {target:g}  {verdict:<6}  {a:.4g} | {b:.4g} {unit}", flush=True)


def save(script: str, **figures: Any) -> None:
    """Merge figures into ``results/<script>.json``: objects name by name, anything else replaces what was there."""
    _merge(f"{script}.json", figures)


def load(file: str) -> dict[str, Any]:
    """Return what a results file holds; nothing when it is not there."""
    path = RESULTS / file
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def table(rows: Mapping[str, Mapping[str, Any]], names: Sequence[str] = ()) -> str:
    """Return rows of ``ratios.json`` as lines, each met or missed."""
    lines = []
    for name in names or rows:
        row = rows[name]
        verdict = "met" if row["ratio"] >= row["target"] else "missed"
        lines.append(f"{name:<40} {row['ratio']:9.3f}  >= {row['target']:<8g} {verdict}")
    return "\n".join(lines)


def _merge(file: str, update: Mapping[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    merged = _merged(load(file), update)
    with tempfile.NamedTemporaryFile("w", dir=RESULTS, suffix=".tmp", delete=False, encoding="utf-8") as new:
        json.dump(merged, new, indent=2, sort_keys=file == RATIOS)
        new.write("\n")
    Path(new.name).chmod(0o644)
    Path(new.name).replace(RESULTS / file)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    both = {k: _merged(old[k], v) for k, v in new.items() if isinstance(v, Mapping) and isinstance(old.get(k), Mapping)}
    return {**old, **new, **both}
