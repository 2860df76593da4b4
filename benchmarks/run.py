"""Run the performance benchmarks and write docs/performance.md: ``make bench [ONLY=training]``.

A row that misses its target is told of, and is no failure.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import measure

HERE = Path(__file__).parent
SCRIPTS = ("export", "scoring", "predict", "training", "overhead", "growth")
APART = ("quality",)  # half an hour: only when it is named


def main() -> None:
    """Run the scripts that are there, in order, and print all rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("only", nargs="*", help=f"some of {', '.join((*SCRIPTS, *APART))}; all but {APART[0]} if none")
    chosen = parser.parse_args().only or SCRIPTS
    if unknown := [name for name in chosen if name not in (*SCRIPTS, *APART)]:
        parser.error(f"{unknown[0]}: is none of {', '.join((*SCRIPTS, *APART))}")
    failed = []
    for script in chosen:
        print(f"== {script}", flush=True)
        started = time.monotonic()
        code = subprocess.run([sys.executable, str(HERE / f"{script}.py")], check=False).returncode  # noqa: S603
        failed += [script] if code else []
        print(f"== {script}: {time.monotonic() - started:.0f} s", flush=True)
    subprocess.run([sys.executable, str(HERE / "page.py")], check=True)  # noqa: S603
    print(measure.table(measure.load(measure.RATIOS)))
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; its output is above")


if __name__ == "__main__":
    main()
