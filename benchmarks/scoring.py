"""Scoring: many texts and single ones, against the tutorial's way and against an O2-optimised graph.

python benchmarks/scoring.py [--rounds 9]        (make bench ONLY=scoring)
"""

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure

MACHINE = measure.pin(threads=2)

import breakdown  # noqa: E402  (after the threads are pinned)
import numpy as np  # noqa: E402
import work  # noqa: E402
from baselines.export import o2_optimised, plain_export  # noqa: E402
from baselines.scoring import RowByRow  # noqa: E402

from kfp_textclf.components.common.artifacts import write_manifest  # noqa: E402
from kfp_textclf.components.common.scoring import OnnxClassifier  # noqa: E402

SCRIPT = "scoring"
ROWS = {"minilm": (763, 48), "albert": (96, 8)}  # texts of ours, texts of the tutorial's way
TARGETS = {
    "minilm": {"rows": 40, "p50": 20, "fp32_o2": 1.1, "int8_o2": 3.3, "fp32_peak": 0.80, "int8_peak": 0.65},
    "albert": {"rows": 30, "p50": 18},
}
TOKENS = 14  # of a text of ATIS, about
SIDE = 2048  # of the square matrices of the peak
TUTORIAL = "the tutorial's way: ONNX fp32, padded to 128 tokens, row by row"
O2 = "the plain fp32 export, optimised as O2 does, in the same batches and threads"
PLAIN = "plain.onnx"
PRODUCTS = ("MatMul", "Gemm")


def exported(name: str) -> dict[str, Path]:
    """Return directories of an exported classifier: fp32, int8, and the plain export optimised as O2 does.

    The plain export itself lies beside the last one.
    """
    home = work.CACHE / f"scoring-{work.dataset_name()}-{name}"
    places = {variant: home / variant for variant in ("fp32", "int8", "o2")}
    if not home.is_dir():
        from kfp_textclf.components.export.stage import export
        from kfp_textclf.components.export.torch_export import TorchClassifier

        half = home.with_name(f".{home.name}")
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(work.classifier(name), half / "source")
        write_manifest(half / "source", "benchmark")
        export(str(half / "source"), str(work.prepared(name)), str(half / "fp32"), str(half / "int8"))
        shutil.copytree(half / "fp32", half / "o2")
        plain = plain_export(TorchClassifier(half / "source").model, half / "o2" / PLAIN)
        shape = json.loads((half / "o2" / "config.json").read_text(encoding="utf-8"))
        heads, width = shape["num_attention_heads"], shape["hidden_size"]
        o2_optimised(plain, half / "o2" / "model.onnx", num_heads=heads, hidden_size=width)
        shutil.rmtree(half / "source")
        half.rename(home)
    return places


def peak(kind: str, threads: int) -> Callable[[], float]:
    """Return a function that measures how many operations a second a large matrix product reaches.

    Args:
        kind: ``fp32``: MatMul; ``int8``: MatMulInteger of unsigned activations and signed weights.
        threads: Of the session.
    """
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    integers = kind == "int8"
    weights: Any = random.integers(-64, 64, (SIDE, SIDE)).astype(np.int8 if integers else np.float32)
    rows: Any = random.integers(0, 128, (SIDE, SIDE)).astype(np.uint8 if integers else np.float32)
    types = (TensorProto.UINT8, TensorProto.INT32) if integers else (TensorProto.FLOAT, TensorProto.FLOAT)
    x, y = (helper.make_tensor_value_info(n, t, (SIDE, SIDE)) for n, t in zip("xy", types, strict=True))
    node = helper.make_node("MatMulInteger" if integers else "MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "peak", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run() -> float:
        started = time.perf_counter()
        session.run(None, {"x": rows})
        return 2 * SIDE**3 / (time.perf_counter() - started)

    return run


def operations(model: Path, classifier: OnnxClassifier, texts: list[str]) -> float:
    """Return how many operations the products with weights need for some texts, without any padding.

    The products of a text of some tokens are counted by their results: some are of all tokens, some of one.
    """
    import onnx
    import onnxruntime

    graph = onnx.load(model)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.graph.initializer}
    weighted = {
        n.output[0]: sizes[n.input[1]] for n in graph.graph.node if n.op_type in PRODUCTS and n.input[1] in sizes
    }
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in weighted)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])

    def of_text(tokens: int) -> float:
        text = {node.name: np.ones((1, tokens), np.int64) for node in session.get_inputs()}
        shapes = [np.asarray(result).shape for result in session.run(list(weighted), text)]
        return sum(2 * math.prod(shape[:-1]) * size for shape, size in zip(shapes, weighted.values(), strict=True))

    short, long = of_text(8), of_text(16)
    per_token = (long - short) / 8
    per_text = short - 8 * per_token
    tokens = sum(len(ids) for ids in classifier.encoder.encode(texts).ids)
    return per_token * tokens + per_text * len(texts)


def throughput(answer: Callable[[list[str]], Any], texts: list[str]) -> Callable[[], float]:
    """Return a function that measures rows per second, raw text in, answer out."""

    def run() -> float:
        started = time.perf_counter()
        answer(texts)
        return len(texts) / (time.perf_counter() - started)

    return run


def p50(answer: Callable[[str], Any], texts: list[str]) -> Callable[[], float]:
    """Return a function that measures the median milliseconds of one text alone."""

    def one(text: str) -> float:
        started = time.perf_counter()
        answer(text)
        return (time.perf_counter() - started) * 1000

    return lambda: statistics.median(one(text) for text in texts)


def measure_model(name: str, rounds: int) -> dict[str, Any]:
    """Measure a model in all ways in turns; return the spread of each way."""
    places, (ours, theirs) = exported(name), ROWS[name]
    texts = work.rows("test")["text"][:ours]
    few = texts[:: max(1, len(texts) // theirs)][:theirs]
    tutorial = RowByRow(places["o2"], PLAIN)
    models = {variant: OnnxClassifier(directory) for variant, directory in places.items()}
    ways = {f"{v} rows/s": throughput(m.probabilities, texts) for v, m in models.items()}
    ways["tutorial rows/s"] = throughput(tutorial.label_all, few)
    ways["tutorial p50 ms"] = p50(tutorial.label, few)
    for variant in ("fp32", "int8"):
        single = models[variant]
        ways[f"{variant} p50 ms"] = p50(lambda text, single=single: single.probabilities([text]), few)
        ways[f"{variant} peak"] = peak(variant, 2)
    figures = measure.interleaved(ways, rounds)
    work_done = operations(places["fp32"] / "model.onnx", models["fp32"], texts) / len(texts)
    return {"figures": figures, "operations_per_row": work_done}


def record_rows(name: str, measured: dict[str, Any]) -> None:
    """Record the rows of ``ratios.json`` that a model's figures give."""
    median = {way: spread.median for way, spread in measured["figures"].items()}
    per_row, target = measured["operations_per_row"], TARGETS[name]
    shares = {v: median[f"{v} rows/s"] * per_row / median[f"{v} peak"] for v in ("fp32", "int8")}
    int8_gain = median["int8 peak"] / median["fp32 peak"]
    limit = f"{shares['int8']:.0%} of the int8 matrix peak, {median['int8 peak'] / 1e9:.0f} GOP/s by onnxruntime itself"
    instructions = ", ".join(MACHINE["cpu_flags"])
    cpu = (
        f"int8 products run {int8_gain:.2f} times as fast as fp32 ones on this CPU ({instructions}); one with VNNI "
        "instructions does 3.5 to 4 times."
    )
    rest = "see the table of what takes the time, and tokenising"
    most = "Most of this is the padding to 128 tokens, which anyone can leave out."

    def row(kind: str, ratio: float, a: float, b: float, unit: str, against: str, **words: str) -> None:
        measure.record(f"scoring_{name}_{kind}", ratio, target[_TARGET[kind]], a, b, unit, script=SCRIPT,
                       against=against, **words)  # fmt: skip

    a, b = median["int8 rows/s"], median["tutorial rows/s"]
    row("int8_rows", a / b, a, b, "rows/s", TUTORIAL, limit=limit, rest=rest, notes=f"{most} {cpu}")
    a, b = median["int8 p50 ms"], median["tutorial p50 ms"]
    alone = "a single text cannot fill the matrix units; its floor is reading the weights once"
    row("int8_p50", b / a, a, b, "ms", TUTORIAL, limit=alone, rest="starting each operator on two cores", notes=cpu)
    if "fp32_o2" not in target:
        return
    for variant in ("int8", "fp32"):
        a, b = median[f"{variant} rows/s"], median["o2 rows/s"]
        note = cpu if variant == "int8" else ""
        row(
            f"{variant}_o2",
            a / b,
            a,
            b,
            "rows/s",
            O2,
            limit=f"{shares[variant]:.0%} of the peak",
            rest=rest,
            notes=note,
        )
        a, b = median[f"{variant} rows/s"] * per_row / 1e9, median[f"{variant} peak"] / 1e9
        words = f"a {SIDE} by {SIDE} product by onnxruntime in the same run"
        row(f"{variant}_peak", shares[variant], a, b, "GOP/s", words, limit="this row is the distance", rest=rest)


_TARGET = {"int8_rows": "rows", "int8_p50": "p50"} | {name: name for name in TARGETS["minilm"]}


def contention(rounds: int) -> dict[str, dict[str, float]]:
    """Return rows per second of MiniLM int8 in three ways of using two cores, alone and beside a busy process."""
    import onnxruntime

    places = exported("minilm")
    texts = work.rows("test")["text"][:300]
    workers = OnnxClassifier(places["int8"])
    waiting = OnnxClassifier(places["int8"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    spinning = onnxruntime.InferenceSession(workers.path, options, providers=["CPUExecutionProvider"])
    encoded = waiting.encoder.encode(texts)

    def one_after_another(session: Any) -> Callable[[], float]:
        def run() -> float:
            started = time.perf_counter()
            for rows in encoded.batches():
                session.run(["logits"], encoded.padded(rows))
            return len(texts) / (time.perf_counter() - started)

        return run

    ways: dict[str, Callable[[], float]] = {
        "a thread for each batch": throughput(workers.text_logits, texts),
        "two threads on one batch": one_after_another(waiting.session),
        "two threads on one batch, spinning": one_after_another(spinning),
    }
    alone = measure.interleaved(ways, rounds)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        beside = measure.interleaved(ways, rounds)
    finally:
        busy.kill()
        busy.wait()
    return {name: {"alone": alone[name].median, "beside": beside[name].median} for name in ways}


def kernels() -> dict[str, Any]:
    """Return the table of what takes the time of MiniLM's answers, by onnxruntime's own profiler."""
    places, shares = exported("minilm"), {}
    for variant, file in (("fp32", "model.onnx"), ("int8", "model.int8.onnx")):
        for name, texts in (("a batch", 256 // TOKENS), ("one text", 1)):
            ids = np.random.default_rng(0).integers(1000, 20000, (texts, TOKENS))
            batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            shares[f"{variant}, {name}"] = breakdown.of_scoring(places[variant] / file, batch)
    return breakdown.table(f"What takes the time, MiniLM, texts of {TOKENS} tokens, one thread", shares)


def main() -> None:
    """Measure, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--models", nargs="+", default=list(ROWS), choices=list(ROWS))
    options = parser.parse_args()
    for name in options.models:
        measured = measure_model(name, options.rounds)
        record_rows(name, measured)
        figures = {way: spread.dict() for way, spread in measured["figures"].items()}
        measure.save(SCRIPT, **{name: figures, f"{name}_operations_per_row": measured["operations_per_row"]})
    if "minilm" in options.models:
        shared = contention(options.rounds)
        rows = [
            [way, round(f["alone"]), round(f["beside"]), f"{f['beside'] / f['alone']:.2f}"] for way, f in shared.items()
        ]
        columns = ["MiniLM int8, 2 cores", "rows/s alone", "rows/s beside a process that burns a core", "ratio"]
        beside = {"title": "Beside a busy neighbour", "columns": columns, "rows": rows}
        measure.save(SCRIPT, tables=[kernels(), beside])
    measure.save(
        SCRIPT,
        title="Scoring",
        machine={**MACHINE, "load_average": round(os.getloadavg()[0], 1)},
        notes=[
            f"Texts: {work.dataset_name()}, test rows, raw text in, label out. Ours: sorted by length, at most 256 "
            "tokens in a batch, a session of one thread shared by a thread for each core. A single text: all threads.",
        ],
    )


if __name__ == "__main__":
    main()
