"""A model that computes less while it is trained: the same logits and gradients."""

import copy
from typing import Any

import pytest
import torch

from kfp_textclf.components.train.kernels import SixteenBitDropout, use_lean_kernels


def classifier(family: str, **options) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(family, **sizes, vocab_size=50, pad_token_id=0, num_labels=3, **options)
    set_seed(0)
    return AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("xlm-roberta", {}),
        ("electra", {"embedding_size": 16}),
        ("albert", {"embedding_size": 16}),
        ("albert", {"embedding_size": 16, "num_hidden_groups": 2}),
        ("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
        ("modernbert", {}),
        ("deberta-v2", {}),
    ],
    ids=str,
)
def test_logits_and_gradients_are_those_of_the_model_as_it_came(family: str, options: dict) -> None:
    plain = classifier(family, **options)
    lean = copy.deepcopy(plain)
    use_lean_kernels(lean)
    lean.eval()
    ids = torch.randint(5, 50, (4, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    outputs = []
    for _ in range(2):  # a model is used more than once
        outputs = [model(input_ids=ids, attention_mask=mask, labels=torch.arange(4) % 3) for model in (plain, lean)]
        torch.testing.assert_close(outputs[1].logits, outputs[0].logits, atol=1e-5, rtol=1e-5)
    for output in outputs:
        output.loss.backward()
    for (name, expected), (_, got) in zip(plain.named_parameters(), lean.named_parameters(), strict=True):
        if expected.grad is not None:
            torch.testing.assert_close(got.grad, expected.grad, atol=1e-5, rtol=1e-4, msg=name)
    assert plain.state_dict().keys() == lean.state_dict().keys()
    assert plain.config.to_dict() == lean.config.to_dict()


def test_the_last_feed_forward_part_sees_the_first_token_alone() -> None:
    model = classifier("bert")
    use_lean_kernels(model)
    seen = []
    for layer in model.bert.encoder.layer:
        layer.intermediate.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    model(input_ids=torch.full((2, 9), 7))
    assert seen == [9, 9, 9, 1]


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    dropout, ones = SixteenBitDropout(0.1), torch.ones(999, 1001)
    dropped = dropout(ones)
    assert (dropped == 0).float().mean() == pytest.approx(0.1, abs=0.001)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / 0.9, rel=1e-3)]
    assert dropped.mean() == pytest.approx(1.0, abs=0.002)
    assert not torch.equal(dropout(ones), dropped)
    torch.manual_seed(0)
    assert torch.equal(dropout(ones), dropped)
    assert torch.equal(dropout.eval()(ones), ones)


def test_dropout_keeps_gradients_and_type() -> None:
    x = torch.ones(5, 7, dtype=torch.bfloat16, requires_grad=True)
    y = SixteenBitDropout(0.5)(x)
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())
