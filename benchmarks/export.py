"""Sizes of exported models, and the time to store each weight once, beside what others do.

python benchmarks/export.py [--models minilm albert distilbert bert] [--rounds 3]      (make bench ONLY=export)
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure
import work
from baselines.export import INPUTS, o2_optimised, pairwise_deduplicated, plain_export, plain_int8

if TYPE_CHECKING:
    import onnx

SCRIPT = "export"
MEGABYTE = 1_000_000
MODELS = ("minilm", "albert", "distilbert", "bert")
MINILM_MB = 90.9  # of the safetensors file and of a plain export
TUTORIAL_INT8_MB = 11.82  # the tutorial's file: 11.80, per tensor; per channel has more scales
INT4_MB = 6.4
WEIGHTS, WEIGHT_BYTES = 1000, 400_000


def sizes(name: str, directory: Path) -> dict[str, float]:
    """Return the size in MB of every form of one model, and the seconds that ours took.

    Args:
        name: ``minilm``, or one of `work.SHAPES`.
        directory: An empty one.
    """
    from kfp_textclf.components.export.folding import fold_constants
    from kfp_textclf.components.export.quantisation import VARIANTS
    from kfp_textclf.components.export.shared_weights import compact, share_weights
    from kfp_textclf.components.export.torch_export import TorchClassifier, to_onnx

    model = TorchClassifier(work.classifier(name)).model
    plain = plain_export(model, directory / "plain.onnx")
    found: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters()) * 4 / MEGABYTE}
    found["plain"] = _megabytes(plain)
    shape = {"num_heads": model.config.num_attention_heads, "hidden_size": model.config.hidden_size}
    for level in ("O2", "O3"):
        found[level] = _megabytes(o2_optimised(plain, directory / "optimised.onnx", level=level, **shape))
    found["plain int8"] = _megabytes(plain_int8(plain, directory / "int8.onnx"))
    started = time.perf_counter()
    graph = to_onnx(model, 17)
    found["export s"] = time.perf_counter() - started
    started = time.perf_counter()
    share_weights(graph)
    graph = fold_constants(graph)
    found["share and fold s"] = time.perf_counter() - started
    for variant, make in VARIANTS.items():
        started = time.perf_counter()
        found[variant] = compact(make(graph)).ByteSize() / MEGABYTE
        found[f"{variant} s"] = time.perf_counter() - started
    return found


def _megabytes(file: Path) -> float:
    return file.stat().st_size / MEGABYTE


def deduplication(rounds: int) -> dict[str, measure.Spread]:
    """Return the seconds that each way takes for 1,000 initializers of 0.4 MB, half of which repeat another."""
    from kfp_textclf.components.export.shared_weights import share_weights

    source = repeated_weights(WEIGHTS, WEIGHT_BYTES)

    def timed(way: Callable[["onnx.ModelProto"], int], expected: int) -> Callable[[], float]:
        def run() -> float:
            graph = _copy(source)
            started = time.perf_counter()
            way(graph)
            seconds = time.perf_counter() - started
            if len(graph.graph.initializer) != expected:
                raise RuntimeError(f"{way.__name__} left {len(graph.graph.initializer)} initializers")
            return seconds

        return run

    ways = {"hash": timed(share_weights, WEIGHTS // 2), "pairwise": timed(pairwise_deduplicated, WEIGHTS // 2)}
    return measure.interleaved(ways, rounds=rounds, warm_up=0)


def repeated_weights(count: int, size: int) -> "onnx.ModelProto":
    """Return a graph that adds up so many initializers of so many bytes, half of which repeat another."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    values = [random.standard_normal(size // 4, dtype=np.float32) for _ in range(count // 2)]
    weights = [numpy_helper.from_array(values[number % len(values)], f"weight{number}") for number in range(count)]
    node = helper.make_node("Sum", ["x", *(weight.name for weight in weights)], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size // 4]) for name in ("x", "y")]
    return helper.make_model(helper.make_graph([node], "sum", ends[:1], ends[1:], weights))


def correctness(directory: Path) -> list[tuple[str, str, str]]:
    """Return what each way does to a quantised graph, and to one whose weights lie in a file and were not read."""
    import numpy as np
    import onnx

    from kfp_textclf.components.export.shared_weights import share_weights

    file = directory / "plain.onnx"
    quantised = plain_int8(file, directory / "plain.int8.onnx")
    apart = directory / "apart"
    apart.mkdir()
    onnx.save(onnx.load(file), apart / "model.onnx", save_as_external_data=True, location="weights.bin")
    feed = {name: np.array([[2, 9, 11, 3]]) if name == "input_ids" else np.ones((1, 4), dtype=int) for name in INPUTS}
    rows = []
    for case, path, read in (("quantised", quantised, True), ("weights in a file", apart / "model.onnx", False)):
        wanted = _answer(path, feed)
        outcomes = []
        for way in (pairwise_deduplicated, lambda graph, at=path: share_weights(graph, at.parent)):
            graph = onnx.load(path, load_external_data=read)
            way(graph)
            changed = path.with_name("changed.onnx")
            onnx.save(graph, changed)
            try:
                outcomes.append(f"largest difference of a logit {np.abs(_answer(changed, feed) - wanted).max():.2g}")
            except Exception as error:  # onnxruntime raises bare Exception subclasses
                outcomes.append(str(error).split(" : ")[2] if str(error).count(" : ") > 1 else type(error).__name__)
        rows.append((case, *outcomes))
    return rows


def _answer(path: Path, feed: dict[str, Any]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]).run(None, feed)[0]


def _copy(model: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def record_sizes(name: str, found: dict[str, float]) -> None:
    """Keep the rows of one model, as far as it has any."""

    def keep(row: str, size: float, allowed: float, target: float, against: str) -> None:
        words = {"against": against, "limit": f"four bytes a parameter: {found['parameters']:.3f} MB in fp32"}
        measure.record(row, allowed / size, target, size, allowed, "MB", script=SCRIPT, **words)

    if name == "albert":
        keep("albert_fp32_size", found["fp32"], found["parameters"] * 1.001, 1.0, "1.001 of four bytes a parameter")
        keep("albert_int8_size", found["int8"], TUTORIAL_INT8_MB, 1.0, "the tutorial's file, with scales per channel")
        keep("albert_int4_size", found["int4"], INT4_MB, 1.0, "6.4 MB")
    if name == "minilm":
        keep("minilm_int8_size", found["int8"], MINILM_MB, 3.95, "the fp32 file")
        keep("minilm_int4_size", found["int4"], MINILM_MB, 7.1, "the fp32 file")


def main() -> None:
    """Measure, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument("--rounds", type=int, default=3, help="of the de-duplication, each way")
    arguments = parser.parse_args()
    machine = measure.pin(threads=2)
    forms: dict[str, dict[str, float]] = {}
    broken: list[tuple[str, str, str]] = []
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as directory:
            forms[name] = sizes(name, Path(directory))
            broken = broken or correctness(Path(directory))
        record_sizes(name, forms[name])
    seconds = deduplication(arguments.rounds) if arguments.rounds else {}
    if seconds:
        ours, theirs = seconds["hash"].median, seconds["pairwise"].median
        measure.record(
            "deduplication",
            theirs / ours,
            10,
            ours,
            theirs,
            "s",
            script=SCRIPT,
            against="comparing raw_data of every pair, the tutorial's way",
            limit=f"{WEIGHTS * WEIGHT_BYTES / MEGABYTE / ours:.0f} MB/s: reading each weight and sha256 of it",
            notes="Each comparison copies both weights out of the model: comparing copies that are made once is fast "
            "too, and as wrong.",
        )
    columns = ("parameters", "plain", "O2", "O3", "fp32", "plain int8", "int8", "int4", "fp16")
    times = ("export s", "share and fold s", "int8 s", "int4 s", "fp16 s")
    measure.save(
        SCRIPT,
        title="Export: sizes and de-duplication",
        machine=machine,
        notes=["Sizes in MB (10^6 bytes). Shapes other than MiniLM have random weights: sizes are the real ones."],
        figures={name: spread.dict() for name, spread in seconds.items()},
        forms=forms,
        tables=[
            _table("Sizes, MB", columns, forms, 3),
            _table("Seconds, one run", times, forms, 1),
            {
                "title": "What de-duplication does to graphs that keep weights elsewhere than in raw_data",
                "columns": ["graph", "pairwise comparison", "hash"],
                "rows": [list(row) for row in broken],
            },
        ],
    )


def _table(title: str, columns: tuple[str, ...], forms: dict[str, dict[str, float]], digits: int) -> dict[str, Any]:
    rows = [[name, *(round(found[column], digits) for column in columns)] for name, found in forms.items()]
    return {"title": title, "columns": ["model", *columns], "rows": rows}


if __name__ == "__main__":
    main()
