"""What share of the machine a training used."""

import pytest
import torch

from kfp_textclf.components.train.throughput import flops_per_token, peak_flops, throughput


def test_operations_are_those_of_the_matrix_products_forward_and_backward() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=256))  # type: ignore[arg-type]
    model.train()
    rows = [{"input_ids": [5] * length} for length in (3, 8, 30)]
    weights = sum(p.numel() for n, p in model.bert.encoder.named_parameters() if p.ndim == 2)
    assert flops_per_token(model, rows) == pytest.approx(6 * weights, rel=0.12)  # the rest: attention, pooler, head
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    model.bert.embeddings.requires_grad_(False)
    frozen = flops_per_token(model, rows)
    assert 4 * weights < frozen <= 6.6 * weights


def test_share_of_the_peak() -> None:
    assert throughput(1000, 10, 6e6, 3e9) == {
        "tokens_per_second": 100,
        "flops_per_second": 6e8,
        "model_flops_utilisation": pytest.approx(0.2),
    }
    assert 1e8 < peak_flops("fp32") < 1e16
    assert torch.is_grad_enabled()
