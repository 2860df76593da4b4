"""What others do to export, shrink and quantise: the baselines of ``benchmarks/export.py``.

Each is the plain way, written to be read beside its source, without what this project does differently.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

INPUTS = ("input_ids", "attention_mask")
LEVELS = ("O2", "O3")


def o2_optimised(
    model: Path, target: Path, *, num_heads: int = 0, hidden_size: int = 0, model_type: str = "bert", level: str = "O2"
) -> Path:
    """Write what ``optimum-cli onnxruntime optimize -O2`` or ``-O3`` makes of an fp32 file.

    Optimum's levels are arguments of onnxruntime's own optimiser for transformers: O2 takes the extended general
    optimisations and the fusions for transformers, O3 the same and Gelu by its tanh approximation.

    Args:
        model: An fp32 ONNX file, exported with eager attention (the fusions know no other).
        target: The file to write.
        num_heads: Attention heads; 0 lets the optimiser find out.
        hidden_size: Width of the model; 0 lets the optimiser find out.
        model_type: Family in the optimiser's terms; ``bert`` serves ALBERT and DistilBERT too.
        level: ``O2`` or ``O3``.

    Returns:
        ``target``.
    """
    from onnxruntime.transformers.fusion_options import FusionOptions
    from onnxruntime.transformers.optimizer import optimize_model

    if level not in LEVELS:
        raise ValueError(f"level={level!r}: must be one of {', '.join(LEVELS)}")
    options = FusionOptions(model_type)
    options.enable_gelu_approximation = level == "O3"
    optimised = optimize_model(
        str(model),
        model_type=model_type,
        num_heads=num_heads,
        hidden_size=hidden_size,
        optimization_options=options,
        opt_level=2,
        use_gpu=False,
        only_onnxruntime=False,
    )
    optimised.save_model_to_file(str(target))
    return target


def plain_export(model: Any, target: Path, opset: int = 17) -> Path:
    """Write a classifier by ``torch.onnx.export`` as its documentation shows it, dynamic in batch and sequence.

    Args:
        model: A Hugging Face model for sequence classification, in evaluation mode.
        target: The file to write.
        opset: ONNX operator set.

    Returns:
        ``target``.
    """
    import torch

    example = torch.ones((2, 8), dtype=torch.int64)
    torch.onnx.export(
        model,
        (example, example),
        target,
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_axes={**{name: {0: "batch", 1: "sequence"} for name in INPUTS}, "logits": {0: "batch"}},
        opset_version=opset,
        dynamo=False,
    )
    return target


def plain_int8(model: Path, target: Path) -> Path:
    """Write what onnxruntime's ``quantize_dynamic`` makes of a file when it is called without a thought.

    Args:
        model: An fp32 ONNX file.
        target: The file to write.

    Returns:
        ``target``.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(model, target, weight_type=QuantType.QInt8)
    return target


def pairwise_deduplicated(model: "onnx.ModelProto") -> int:
    """Merge initializers in place by comparing every pair of ``raw_data``, the tutorial's way.

    Each initializer is compared with every later one. Type, shape, and values that are stored elsewhere than in
    ``raw_data`` are not looked at.

    Args:
        model: The model.

    Returns:
        How many initializers were merged into others.
    """
    tensors = list(model.graph.initializer)
    merged: dict[str, str] = {}
    for place, first in enumerate(tensors):
        if first.name in merged:
            continue
        for second in tensors[place + 1 :]:
            if second.name not in merged and first.raw_data == second.raw_data:
                merged[second.name] = first.name
    for tensor in tensors:
        if tensor.name in merged:
            model.graph.initializer.remove(tensor)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = merged.get(name, name)
    return len(merged)
