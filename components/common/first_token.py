"""The last layer of an encoder, computed for the one token that a classifier reads of it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel

FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "albert")  # their layers read no other way back


def keep_first_token(model: "PreTrainedModel") -> list["RemovableHandle"]:
    """Cut what the attention of the last layer gives to the first token: of the rest nothing reaches the classifier.

    The feed-forward part, two thirds of a layer's work, is computed for that token alone; logits and gradients are the
    same. A layer that is used several times, as ALBERT's is, is the last one when it is used for the last time. Models
    of other `FAMILIES` are left as they are.

    Args:
        model: A classifier that reads the first token.

    Returns:
        The hooks that do it; removing them undoes it.
    """
    if model.config.model_type not in FAMILIES:
        return []
    encoder: Any = model.base_model.encoder
    if hasattr(encoder, "layer"):
        last, uses = encoder.layer[-1], 1
    else:
        last = encoder.albert_layer_groups[-1].albert_layers[-1]
        uses = model.config.num_hidden_layers // model.config.num_hidden_groups
    used = 0

    def begin(*_: Any) -> None:
        nonlocal used
        used = 0

    def cut(module: Any, inputs: Any, outputs: Any) -> Any:
        nonlocal used
        used += 1
        return (outputs[0][:, :1], *outputs[1:]) if used == uses else None

    return [encoder.register_forward_pre_hook(begin), last.attention.register_forward_hook(cut)]
