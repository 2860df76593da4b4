"""A base model as a training begins with it, and what is refused before hours go into it."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

ONNX_BYTES = 2**31  # what a file holds, as any protobuf message
FLOAT_BYTES = 4
TOLERANCE = 1e-3  # of a logit; kernels for masked and unmasked attention differ by some 1e-6
# How a classifier answers and what its loss is, whatever the base model was used for: one label, found by its type.
ANSWER = {"problem_type": None, "output_hidden_states": False, "output_attentions": False, "return_dict": True}


def load_model(base_model: Path, labels: list[str]) -> "PreTrainedModel":
    """Load a base model as a classifier, from safetensors alone.

    It has a new head, unless it comes with one for as many labels.

    Raises:
        UserError: The directory holds no safetensors weights of a model that can classify sequences, they do not fit
            its configuration, or the model could not be exported.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(
            base_model,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            trust_remote_code=False,
            **ANSWER,
        )
        _check_size(base_model, config)
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            base_model,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
            ignore_mismatched_sizes=True,  # a head for other labels; anything else is refused below
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, SafetensorError, StrictDataclassError) as error:
        raise UserError(f"{base_model}: cannot be loaded as a classifier from safetensors ({error})") from error
    for name, stored, wanted in sorted(loaded["mismatched_keys"]):
        if name.startswith(f"{model.base_model_prefix}."):
            raise UserError(
                f"{base_model}: {name} has the shape {tuple(stored)}, by its config.json it is {tuple(wanted)}; "
                "get the base model again, or name another"
            )
    return model


def freeze_embeddings(model: "PreTrainedModel") -> None:
    """Leave the embeddings of a model as they are: all of them, or those of the tokens where they are not together."""
    embeddings = getattr(model.base_model, "embeddings", None)
    (model.get_input_embeddings() if embeddings is None else embeddings).requires_grad_(False)


def check_rows(model: "PreTrainedModel", base_model: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Refuse a model that fails on the rows, or that answers a row otherwise where padding follows it.

    Two passes over the shortest row, the longest and that with the highest token id; no random number is drawn.

    Args:
        model: As loaded.
        base_model: Its directory.
        rows: With ``input_ids``.

    Raises:
        UserError: It cannot be trained on them.
    """
    import torch

    filled = [row["input_ids"] for row in rows if row["input_ids"]]
    shortest, longest, highest = min(filled, key=len), max(filled, key=len), max(filled, key=max)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            together = _logits(model, [shortest, longest, highest])[0]
            alone = _logits(model, [shortest])[0]
    except Exception as error:  # whatever a model raises: it would be raised in the middle of the training too
        raise UserError(f"base_model {base_model}: {_cause(model, error, len(longest), max(highest))}") from error
    difference = (together - alone).abs().max().item()
    if difference > TOLERANCE * max(1.0, alone.abs().max().item()):
        raise UserError(
            f"base_model {base_model}: its logits of a text change by {difference:.2g} where padding follows the text; "
            "models that classify by the last position, as XLNet does, are not supported: choose another base model"
        )


def _check_size(base_model: Path, config: "PretrainedConfig") -> None:
    """Refuse a model that no ONNX file could hold; nothing of it is loaded."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.device("meta"):
        parameters = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False).num_parameters()
    if parameters * FLOAT_BYTES > ONNX_BYTES:
        raise UserError(
            f"base_model {base_model}: {parameters:,} parameters are {parameters * FLOAT_BYTES / 2**30:.1f} GiB in "
            "fp32, and an ONNX file holds 2 GiB: it could not be exported; choose a smaller base model"
        )


def _logits(model: "PreTrainedModel", rows: Iterable[list[int]]) -> "torch.Tensor":
    from kfp_textclf.components.train.batching import pad_batch

    batch = pad_batch([{"input_ids": ids, "labels": 0} for ids in rows], padding=model.config.pad_token_id or 0)
    del batch["labels"]
    return model.eval()(**batch).logits


def _cause(model: "PreTrainedModel", error: Exception, longest: int, highest: int) -> str:
    """Return why a model failed on rows of up to ``longest`` tokens and token ids up to ``highest``, and the fix."""
    tokens, positions = _tokens(model), _positions(model)
    if highest >= tokens:
        return f"knows {tokens} tokens, and its tokenizer gives the id {highest}; give it the tokenizer it came with"
    if longest > positions:
        return f"takes {positions} tokens, and a row has {longest}; set prepare.max_length={positions}"
    if model.config.pad_token_id is None:
        return f"has no padding token ({error}); choose another base model"
    return f"fails on the rows ({type(error).__name__}: {error}); choose another base model"


def _tokens(model: "PreTrainedModel") -> int:
    embeddings: Any = model.get_input_embeddings()
    return len(embeddings.weight)


def _positions(model: "PreTrainedModel") -> float:
    """Return how many tokens the position embeddings are for; those up to the padding's are none of a token's."""
    import torch

    found = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    tables = [module for module in found if isinstance(module, torch.nn.Embedding)]
    unused = [0 if table.padding_idx is None else table.padding_idx + 1 for table in tables]
    return min((table.num_embeddings - n for table, n in zip(tables, unused, strict=True)), default=math.inf)
