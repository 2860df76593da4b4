"""The first answer: ``kfp-textclf predict MODEL TEXT`` from process start, against transformers with torch.

python benchmarks/predict.py [--rounds 7]        (make bench ONLY=predict)
"""

import argparse
import subprocess
import sys
from pathlib import Path

import measure

MACHINE = measure.pin(threads=2)

import work  # noqa: E402  (after the threads are pinned)
from scoring import exported  # noqa: E402

SCRIPT, TARGET = "predict", 8
TEXT = "show me the cheapest flights from boston to denver"
BASELINE = Path(__file__).parent / "baselines" / "scoring.py"
PIECES = {
    "interpreter": "pass",
    "numpy": "import numpy",
    "numpy, onnxruntime, tokenizers": "import numpy, onnxruntime, tokenizers",
    "the same, and the code of predict": "import kfp_textclf.pipelines.predict, numpy, onnxruntime, tokenizers",
}


def label(*command: str) -> str:
    """Run a command and return the label that it prints first."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.splitlines()[-1].split("\t")[0]


def _timed(command: list[str]) -> None:
    label(*command)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    model, torch_model = str(exported("minilm")["int8"]), str(work.classifier("minilm"))
    ours = [str(Path(sys.executable).parent / "kfp-textclf"), "predict", model, TEXT]
    theirs = [str(BASELINE), torch_model, TEXT]
    same = label(*ours) == label(*theirs)
    ways = {"ours": ours, "transformers": theirs}
    figures = measure.interleaved({name: lambda way=way: _timed(way) for name, way in ways.items()}, rounds)
    pieces = {name: lambda code=code: label_of_code(code) for name, code in PIECES.items()}
    parts = measure.interleaved(pieces, rounds)
    a, b, floor = figures["ours"].median, figures["transformers"].median, parts["numpy, onnxruntime, tokenizers"].median
    measure.record(
        "predict_from_process_start",
        b / a,
        TARGET,
        a,
        b,
        "s",
        script=SCRIPT,
        against="transformers and torch from process start, MiniLM fp32, the same text",
        limit=f"starting Python and importing numpy, onnxruntime and tokenizers takes {floor:.2f} s of the {a:.2f} s",
        rest="reading the tokenizer, opening the model, its manifest's hashes, one text",
        notes=f"Files in the page cache. Both give the same label: {'yes' if same else 'no'}.",
    )
    rows = [[name, f"{spread.median * 1000:.0f}"] for name, spread in [*parts.items(), ("predict", figures["ours"])]]
    table = {"title": "What the first answer waits for", "columns": ["process that does", "ms in all"], "rows": rows}
    spreads = {name: spread.dict() for name, spread in {**figures, **parts}.items()}
    measure.save(SCRIPT, title="First answer", machine=MACHINE, figures=spreads, tables=[table])


def label_of_code(code: str) -> None:
    """Run some code in a process of its own."""
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603


if __name__ == "__main__":
    main()
