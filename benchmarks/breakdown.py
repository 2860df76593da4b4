"""What takes the time of a training step and of scoring, by profilers: the rest of the share of the peak."""

import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

TRAINING = {  # operators of torch, by what they are for
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "optimizer": ("aten::_fused_adamw_", "Optimizer."),
    "gradient norm and clipping": (
        "aten::linalg_vector_norm",
        "aten::_foreach_norm",
        "aten::mul_",
        "aten::_foreach_mul_",
    ),
    "dropout": ("aten::bernoulli_", "aten::random_", "aten::ge", "aten::native_dropout"),
    "GELU": ("aten::gelu", "aten::tanh"),
    "normalisation and softmax": ("aten::native_layer_norm", "aten::_softmax"),
    "copies": ("aten::copy_", "aten::cat", "aten::clone"),
}
SCORING = {  # kernels of onnxruntime
    "matrix products": ("MatMul", "FusedMatMul", "Gemm", "FusedGemm"),
    "int8 matrix products, their activations quantised": (
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "MatMulInteger",
    ),
    "quantising": ("DynamicQuantizeLinear", "DequantizeLinear"),
    "GELU": ("Gelu", "FastGelu", "BiasGelu", "QuickGelu", "Erf", "Tanh"),
    "normalisation and softmax": ("LayerNormalization", "SkipLayerNormalization", "Softmax"),
    "additions": ("Add",),
    "moving": ("Transpose", "Reshape", "Gather", "Slice", "Concat", "Unsqueeze", "Shape"),
}
Shares = dict[str, float]


def of_training(train: Callable[[], object]) -> Shares:
    """Return the shares of the time of a training that its operators take, by what they are for."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        train()
    return _shares({event.key: event.self_cpu_time_total for event in profiler.key_averages()}, TRAINING)


def of_scoring(model: Path, batch: Mapping[str, Any], runs: int = 40) -> Shares:
    """Return the shares of the time of a model's answers that its kernels take, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as directory:
        options.enable_profiling, options.profile_file_prefix = True, f"{directory}/profile"
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        feed = {node.name: batch[node.name] for node in session.get_inputs()}
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: Counter[str] = Counter()
    for event in events:
        if event["name"].endswith("_kernel_time"):
            times[event["args"]["op_name"]] += event["dur"]
    return _shares(times, SCORING)


def _shares(times: Mapping[str, float], kinds: Mapping[str, tuple[str, ...]]) -> Shares:
    """Return the share of each kind, and of what is none of them."""
    found: dict[str, float] = defaultdict(float)
    for name, time in times.items():
        kind = next((kind for kind, names in kinds.items() if _is_one_of(name, names)), "everything else")
        found[kind] += time
    total = sum(found.values())
    order = [*kinds, "everything else"]
    return {kind: found[kind] / total for kind in order if found[kind]}


def _is_one_of(name: str, names: tuple[str, ...]) -> bool:
    """Return whether an operator is one of these, or the backward pass of one."""
    return any(
        name in (known, f"{known}_backward") or (known.endswith(".") and name.startswith(known)) for known in names
    )


def table(title: str, shares: Mapping[str, Shares]) -> dict[str, Any]:
    """Return the table of some breakdowns, by name, for `measure.save`."""
    kinds = dict.fromkeys(kind for share in shares.values() for kind in share)
    rows = [[kind, *(f"{share.get(kind, 0):.1%}" for share in shares.values())] for kind in kinds]
    return {"title": title, "columns": ["part of the time", *shares], "rows": rows}
