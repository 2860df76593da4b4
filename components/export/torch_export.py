"""From a torch classifier to an ONNX graph, and the torch classifier as the reference to compare with."""

import inspect
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common.encoding import TextEncoder
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.first_token import FAMILIES, keep_first_token
from kfp_textclf.components.common.hardware import available_cpus
from kfp_textclf.components.common.scoring import Classifier

if TYPE_CHECKING:
    import onnx

INPUTS = ("input_ids", "attention_mask")


class TorchClassifier(Classifier):
    """A fine-tuned model in torch, behind the same interface as its ONNX variants."""

    def __init__(self, directory: Path) -> None:
        """Load ``save_pretrained`` files; safetensors alone.

        Raises:
            UserError: The directory holds no such model.
        """
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(available_cpus())
        try:
            # Eager attention: what the exporter's fused attention kernels would hide stays plain, quantisable MatMuls.
            self.model = AutoModelForSequenceClassification.from_pretrained(
                directory, attn_implementation="eager", use_safetensors=True, trust_remote_code=False, dtype="float32"
            ).eval()
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise UserError(f"{directory}: is not a fine-tuned model in safetensors ({error})") from error
        self.encoder = TextEncoder(directory)

    def logits(self, batch: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Return logits of shape (batch, classes) for model inputs of shape (batch, tokens)."""
        import torch

        with torch.inference_mode():
            return self.model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.numpy()


def to_onnx(model: Any, opset: int) -> "onnx.ModelProto":
    """Export a torch classifier with dynamic batch and sequence.

    Args:
        model: A Hugging Face model for sequence classification, in evaluation mode.
        opset: ONNX operator set.

    Returns:
        A graph from ``input_ids`` and ``attention_mask``, int64 of shape (batch, sequence), to ``logits``, float32 of
        shape (batch, classes).
    """
    import onnx
    import torch

    example = torch.ones((2, 8), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "sequence"} for name in INPUTS}
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        file = Path(directory) / "model.onnx"
        warnings.simplefilter(
            "ignore"
        )  # the exporter announces its successor, and traces that are meant to be constant
        hooks = keep_first_token(model)
        torch.onnx.export(
            _LogitsOnly.of(model),
            (example, example),
            file,
            input_names=list(INPUTS),
            output_names=["logits"],
            dynamic_axes={**axes, "logits": {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )
        for hook in hooks:
            hook.remove()
        model.eval()  # the exporter restores the wrapper's training mode, and with it the model's
        return onnx.load(file)


class _LogitsOnly:
    """Makes a module that takes the inputs by position and returns the logits alone.

    What transformers would compute for every text by dozens of small operators is given: the mask as it is added to the
    scores of the attention, shape (batch, 1, 1, sequence), and the token types, which are all 0.
    """

    @staticmethod
    def of(model: Any) -> Any:
        import torch

        takes_mask = model.config.model_type in (*FAMILIES, "distilbert")
        takes_types = "token_type_ids" in inspect.signature(model.forward).parameters

        class LogitsOnly(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, input_ids: Any, attention_mask: Any) -> Any:
                inputs = {"token_type_ids": torch.zeros_like(input_ids)} if takes_types else {}
                if takes_mask:
                    hidden = 1.0 - attention_mask[:, None, None, :].to(model.dtype)
                    attention_mask = hidden * torch.finfo(model.dtype).min
                return self.model(input_ids=input_ids, attention_mask=attention_mask, **inputs).logits

        return LogitsOnly().eval()
