"""How cost grows: with rows, classes, text length and model size; the exponent of each is fitted.

python benchmarks/growth.py [--rows 1000 10000 100000 1000000]        (make bench ONLY=growth)

Ingest and prepare are measured by ``make bench-data`` up to five million rows; their figures are taken from there.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import measure

MACHINE = measure.pin(threads=2)

import numpy as np  # noqa: E402  (after the threads are pinned)
import work  # noqa: E402
from scoring import exported  # noqa: E402

from kfp_textclf.components.common import plots  # noqa: E402
from kfp_textclf.components.common.classification import confusion_matrix, per_class, quality  # noqa: E402
from kfp_textclf.components.common.report import Table, render_html  # noqa: E402
from kfp_textclf.components.common.scoring import OnnxClassifier, softmax  # noqa: E402
from kfp_textclf.components.common.significance import compare  # noqa: E402
from kfp_textclf.components.evaluate.confidence import calibration_figures, reject_option  # noqa: E402
from kfp_textclf.components.evaluate.curves import micro_roc  # noqa: E402

SCRIPT = "growth"
ROWS, CLASSES, TOKENS = (1_000, 10_000, 100_000, 1_000_000), (2, 10, 100, 1_000), (8, 32, 128, 512)
FIXED_CLASSES, FIXED_ROWS = 20, 10_000
STREAMS = (2_000, 20_000)  # rows labelled from standard input
LINEAR, FLAT = 1.1, 1.25  # the largest exponent over rows, the largest growth of memory
PREDICT = """
import io, json, re, sys
from kfp_textclf.pipelines.predict import predict_texts
class Nowhere(io.TextIOBase):
    def write(self, text): return len(text)
predict_texts(sys.argv[1], ("fare" for _ in range(int(sys.argv[2]))), Nowhere())
status = open("/proc/self/status").read()  # ru_maxrss would be that of the process that started this one
print(json.dumps({"peak_mb": int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024}))
"""


def seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least seconds of some runs: growth is a matter of the work, not of what else the machine does."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return min(times)


def exponent(points: Mapping[int, float]) -> float:
    """Return the slope of log cost over log size, fitted to the three largest sizes: fixed costs weigh least there."""
    sizes, costs = zip(*sorted(points.items())[-3:], strict=True)
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def answers(rows: int, classes: int) -> tuple[Any, Any, Any]:
    """Return made-up true classes, logits that are mostly right, and another model's answers."""
    random = np.random.default_rng(13)
    truth = random.integers(0, classes, rows)
    logits = random.normal(size=(rows, classes)).astype(np.float32)
    logits[np.arange(rows), truth] += 3
    other = np.where(random.random(rows) < 0.9, truth, random.integers(0, classes, rows))
    return truth, logits, other


def judging(rows: int, classes: int) -> dict[str, float]:
    """Return the seconds of what the evaluation does with the answers of a model."""
    truth, logits, other = answers(rows, classes)
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    return {
        "metrics": seconds(lambda: quality(confusion_matrix(truth, predicted, classes))),
        "calibration": seconds(lambda: calibration_figures(logits, truth, 1.0)),
        "reject option": seconds(lambda: reject_option(probabilities, truth)),
        "ROC": seconds(lambda: micro_roc(truth, probabilities)),
        "comparison with the champion": seconds(lambda: compare(truth, other, predicted), 1),
    }


def drawing(classes: int) -> dict[str, float]:
    """Return the seconds of the confusion matrix and of a page with it and a table of the classes."""
    truth, logits, _ = answers(FIXED_ROWS, classes)
    matrix = confusion_matrix(truth, logits.argmax(axis=1), classes)
    labels = [f"class {number}" for number in range(classes)]
    counts = matrix.tolist()

    def page() -> str:
        scores = [tuple(map(str, vars(score).values())) for score in per_class(matrix, labels)]
        return render_html("Growth", "", [Table("Classes", ("label", "precision", "recall", "F1", "rows"), scores)])

    with tempfile.TemporaryDirectory() as directory:
        png = Path(directory) / "matrix.png"
        return {
            "matrix, PNG": seconds(lambda: plots.save_png(plots.matrix(labels, counts), png), 1),
            "matrix, SVG": seconds(lambda: plots.to_svg(plots.matrix(labels, counts)), 1),
            "page": seconds(page, 1),
        }


def scoring(lengths: tuple[int, ...], rows: tuple[int, ...]) -> dict[str, dict[int, float]]:
    """Return the seconds of MiniLM int8 over rows (texts of the data) and the milliseconds of a text by its tokens."""
    classifier = OnnxClassifier(exported("minilm")["int8"])
    texts = work.rows("test")["text"]
    many = {count: (texts * (count // len(texts) + 1))[:count] for count in rows}
    by_rows = {count: seconds(lambda some=some: classifier.probabilities(some), 1) for count, some in many.items()}
    long = {tokens: np.full((1, tokens), 1012) for tokens in lengths}
    by_length = {
        tokens: 1000 * seconds(lambda ids=ids: classifier.logits({"input_ids": ids, "attention_mask": ids * 0 + 1}))
        for tokens, ids in long.items()
    }
    return {"rows": by_rows, "tokens": by_length}


def model_size() -> dict[str, dict[str, float]]:
    """Return for MiniLM and ALBERT the size of the fp32 file and the milliseconds of a text of 16 tokens, int8."""
    found = {}
    ids = np.full((1, 16), 1012)
    for name in ("minilm", "albert"):
        places = exported(name)
        classifier = OnnxClassifier(places["int8"])
        run = seconds(lambda c=classifier: c.logits({"input_ids": ids, "attention_mask": ids * 0 + 1}), 10)
        found[name] = {"fp32_mb": (places["fp32"] / "model.onnx").stat().st_size / 1e6, "ms": run * 1000}
    return found


def of_data() -> dict[str, dict[int, float]]:
    """Return the seconds of ingest and prepare over the number of rows, as ``make bench-data`` measured them."""
    sizes = measure.load("data.json").get("sizes", {})
    stages = ("ingest", "prepare")
    return {stage: {int(count): figures[stage]["seconds"] for count, figures in sizes.items()} for stage in stages}


def _turned(by_size: Mapping[int, Mapping[str, float]]) -> dict[str, dict[int, float]]:
    names = next(iter(by_size.values()))
    return {name: {size: parts[name] for size, parts in by_size.items()} for name in names}


def _lines(parts: Mapping[str, Mapping[int, float]]) -> dict[str, list[list[float]]]:
    return {name: [[size, value] for size, value in sorted(points.items())] for name, points in parts.items()}


def _record(exponents: Mapping[str, float], peaks: Mapping[int, float]) -> None:
    worst = max(exponents, key=lambda name: exponents[name])
    measure.record(
        "growth_rows_exponent",
        LINEAR / exponents[worst],
        1,
        exponents[worst],
        LINEAR,
        "exponent",
        script=SCRIPT,
        against=f"cost that is linear in rows; the steepest of {len(exponents)} parts is {worst}",
    )
    growth = peaks[STREAMS[1]] / peaks[STREAMS[0]]
    measure.record(
        "growth_stream_memory",
        FLAT / growth,
        1,
        peaks[STREAMS[1]],
        peaks[STREAMS[0]],
        "MiB",
        script=SCRIPT,
        against=f"peak memory of predict with {STREAMS[0]:,} lines; ours is that with {STREAMS[1]:,}",
    )


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    options = parser.parse_args()
    scored = scoring(TOKENS, tuple(count for count in options.rows if count <= 10_000))
    rows = {"scoring": scored["rows"], **_turned({n: judging(n, FIXED_CLASSES) for n in options.rows})}
    classes = _turned({n: {**judging(FIXED_ROWS, n), **drawing(n)} for n in options.classes})
    model = str(exported("minilm")["int8"])
    peaks = {count: measure.child("-c", PREDICT, model, str(count))["peak_mb"] for count in STREAMS}
    sizes = model_size()
    exponents = {name: exponent(points) for name, points in {**of_data(), **rows}.items() if len(points) > 1}
    _record(exponents, peaks)
    table = [[name, f"{exponents[name]:.2f}"] for name in exponents]
    by_class = [[name, *(f"{points[n]:.3f}" for n in options.classes)] for name, points in classes.items()]
    measure.save(
        SCRIPT,
        title="Growth",
        machine=MACHINE,
        figures={"rows": rows, "classes": classes, "tokens": scored["tokens"], "models": sizes, "stream_mb": peaks},
        notes=[
            f"Rows: {FIXED_CLASSES} classes. Classes: {FIXED_ROWS:,} rows. Exponents are fitted to the three largest "
            "sizes, where fixed costs weigh least; ingest and prepare are those of `make bench-data`.",
            "Model size: "
            + "; ".join(f"{name}, {f['fp32_mb']:.0f} MB in fp32: {f['ms']:.1f} ms a text" for name, f in sizes.items())
            + ". ALBERT's file is the smaller one, and its work eight times MiniLM's: its layers share their weights.",
        ],
        tables=[
            {"title": "Exponent over rows", "columns": ["part", "exponent"], "rows": table},
            {
                "title": "Seconds by number of classes",
                "columns": ["part", *(f"{n:,}" for n in options.classes)],
                "rows": by_class,
            },
        ],
        plots=[
            {
                "name": "growth",
                "x": ["rows", "classes", "tokens"],
                "log": True,
                "panels": {
                    "seconds over rows": _lines(rows),
                    "seconds over classes": _lines(classes),
                    "ms over tokens": _lines({"one text": scored["tokens"]}),
                },
            }
        ],
    )
    print(json.dumps(exponents, indent=2), file=sys.stderr)


if __name__ == "__main__":
    main()
