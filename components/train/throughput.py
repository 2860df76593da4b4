"""How much of what the machine can multiply a training used.

    model FLOPs utilisation = tokens * floating-point operations a token / (seconds * peak)

Operations are those of the matrix products of one step (forward and backward), counted by torch, over the tokens of its
texts. The peak is that of square matrix products in the type that was trained in, measured on the same device and
threads. Seconds are those of the whole fine-tuning, its validation and checkpoints included, so that time spent on
anything but training, and padding, lower it.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices
PEAK_SECONDS = 0.3
ROWS = 16


def peak_flops(precision: str) -> float:
    """Return the operations per second of a square matrix product, the best of some.

    Args:
        precision: ``bf16`` or ``fp32``.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = SIDE[device]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    matrix = torch.ones(side, side, dtype=dtype, device=device)
    best, end = float("inf"), time.perf_counter() + PEAK_SECONDS
    with torch.no_grad():
        while best == float("inf") or time.perf_counter() < end:
            started = time.perf_counter()
            _ = matrix @ matrix
            if device == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - started)
    return 2 * side**3 / best


def flops_per_token(model: "PreTrainedModel", rows: Sequence[dict[str, Any]]) -> float:
    """Return the operations of a training step a token, for rows of middle length; the model is left as it was.

    Args:
        model: On the CPU; what needs no gradient costs no backward pass.
        rows: Training rows with ``input_ids``.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    middle = sorted(rows, key=lambda row: len(row["input_ids"]))[len(rows) // 2]
    batch = torch.tensor([middle["input_ids"]] * ROWS)
    training = model.training
    with FlopCounterMode(display=False) as counter:
        model.eval()(input_ids=batch, labels=torch.zeros(ROWS, dtype=torch.long)).loss.backward()
    model.train(training).zero_grad()
    return counter.get_total_flops() / batch.numel()


def throughput(tokens: float, seconds: float, flops_per_token: float, peak: float) -> dict[str, float]:
    """Return ``tokens_per_second``, ``flops_per_second`` and what share of the peak that is."""
    used = flops_per_token * tokens / seconds
    speed = {"tokens_per_second": tokens / seconds, "flops_per_second": used}
    return {**speed, "model_flops_utilisation": used / peak}
