"""Small random models of the families that are exported, in the shapes of their own."""

from collections.abc import Callable
from functools import cache
from typing import Any

VOCABULARY = 300
BERT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 130,
}
RELATIVE = {
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 16,
    "pos_att_type": ["p2c", "c2p"],
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "position_biased_input": False,
    "type_vocab_size": 0,
}
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT),
    "albert": ("Albert", {**BERT, "embedding_size": 16, "num_hidden_layers": 4}),
    "distilbert": (
        "DistilBert",
        {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    ),
    "roberta": ("Roberta", BERT),
    "xlm-roberta": ("XLMRoberta", BERT),
    "electra": ("Electra", {**BERT, "embedding_size": 16}),
    "deberta-v2": ("DebertaV2", {**BERT, **RELATIVE}),
    "modernbert": (
        "ModernBert",
        {**SMALL, "intermediate_size": 64, "local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0},
    ),
}


@cache
def random_model(family: str) -> Any:
    """Return a classifier of three classes, every parameter moved so that only tied ones are equal."""
    import torch
    import transformers

    name, sizes = SIZES[family]
    config = getattr(transformers, f"{name}Config")(**sizes, num_labels=3)
    make: Callable[..., Any] = getattr(transformers, f"{name}ForSequenceClassification")._from_config
    torch.manual_seed(0)
    model = make(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model
