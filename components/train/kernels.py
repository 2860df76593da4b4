"""The same model, computed with less work while it is fine-tuned; what is saved is the model as it came.

- Of the last layer only the first token is computed as far as nothing reads the others (`keep_first_token`).
- ``gelu_new`` is eight passes over the widest activations; torch has the same function in one.
- Dropout masks on a CPU: torch draws one number of 64 bits an element, in one thread; 16 bits are enough.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kfp_textclf.components.common.first_token import keep_first_token

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STEPS_16_BIT = 2**16


def use_lean_kernels(model: "PreTrainedModel") -> None:
    """Make a classifier do less for the same result, as far as its architecture and device allow."""
    from transformers.activations import NewGELUActivation

    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is NewGELUActivation:
                setattr(module, name, nn.GELU(approximate="tanh"))
            elif type(child) is nn.Dropout and not torch.cuda.is_available():
                setattr(module, name, SixteenBitDropout(child.p))
        if type(getattr(module, "activation", None)) is NewGELUActivation:
            module.activation = nn.GELU(approximate="tanh")
    keep_first_token(model)


class SixteenBitDropout(nn.Module):
    """Dropout whose probability is rounded to 1/65536, and whose masks take a quarter of the random numbers."""

    def __init__(self, p: float) -> None:
        """Drop elements with probability ``p``."""
        super().__init__()
        self.p = p  # read by attention layers

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with elements set to 0 and the others scaled up; unchanged outside of training."""
        dropped = round(self.p * STEPS_16_BIT)
        if not self.training or not dropped:
            return x
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(x.shape)
        kept = bits >= dropped - STEPS_16_BIT // 2
        return x * (kept.to(x.dtype) * (STEPS_16_BIT / (STEPS_16_BIT - dropped)))
