"""Base models as a training begins with them: heads, settings that are not inherited, and what is refused at once."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from stage_inputs import rewritten

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.train.base_model import check_rows, freeze_embeddings, load_model

LABELS = ["fare", "flight", "meal"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64}
ROBERTA = {"max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 2}
BASE = Path("/models/base")


def classifier(family: str, pad_token_id: int | None = 0, **options: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification, set_seed

    sizes = {} if family in ("gpt2", "xlnet") else SIZES
    config = AutoConfig.for_model(family, **sizes, vocab_size=50, pad_token_id=pad_token_id, num_labels=3, **options)
    set_seed(0)
    return AutoModelForSequenceClassification.from_config(config)


def rows_of(*lengths: int) -> list[dict[str, Any]]:
    ids = torch.randint(5, 50, (len(lengths), max(lengths)), generator=torch.Generator().manual_seed(1)).tolist()
    return [{"input_ids": row[:length]} for row, length in zip(ids, lengths, strict=True)]


@pytest.fixture
def five_labels(tiny_model: Path, tmp_path: Path) -> Path:
    """A classifier of five labels."""
    load_model(tiny_model, list("abcde")).save_pretrained(tmp_path / "five")
    return tmp_path / "five"


def test_classifier_of_other_labels_gets_a_new_head(five_labels: Path) -> None:
    from safetensors.torch import load_file

    model = load_model(five_labels, LABELS)
    weights, stored = model.state_dict(), load_file(five_labels / "model.safetensors")
    assert weights["classifier.weight"].shape == (3, 64)
    assert 0 < weights["classifier.weight"].std() < 0.1
    assert model.config.id2label == dict(enumerate(LABELS))
    assert all(torch.equal(weights[name], stored[name]) for name in stored if name.startswith("bert."))


def test_classifier_of_as_many_labels_keeps_its_head(five_labels: Path) -> None:
    from safetensors.torch import load_file

    weights = load_model(five_labels, list("fghij")).state_dict()
    assert torch.equal(weights["classifier.weight"], load_file(five_labels / "model.safetensors")["classifier.weight"])


def test_weights_that_do_not_fit_the_configuration_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    config = json.dumps({**read_json(tiny_model / "config.json"), "vocab_size": 60})
    broken = rewritten(tiny_model, tmp_path / "base", {"config.json": config})
    with pytest.raises(UserError, match=r"word_embeddings\.weight has the shape \(400, 64\), by its config.json it is"):
        load_model(broken, LABELS)


@pytest.mark.parametrize(
    "inherited",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression"},
        {"output_hidden_states": True},
        {"return_dict": False},
    ],
    ids=str,
)
def test_what_the_base_model_was_used_for_is_not_inherited(tiny_model: Path, tmp_path: Path, inherited: dict) -> None:
    config = json.dumps({**read_json(tiny_model / "config.json"), **inherited})
    model = load_model(rewritten(tiny_model, tmp_path / "base", {"config.json": config}), LABELS)
    ids, labels = torch.full((2, 5), 7), torch.tensor([0, 2])
    outputs = model(input_ids=ids, labels=labels)
    assert set(outputs) == {"loss", "logits"}
    torch.testing.assert_close(outputs.loss, torch.nn.functional.cross_entropy(outputs.logits, labels))


def test_model_too_large_for_an_onnx_file_is_refused_unread(tiny_model: Path, tmp_path: Path) -> None:
    config = json.dumps({**read_json(tiny_model / "config.json"), "vocab_size": 9_000_000})
    large = rewritten(tiny_model, tmp_path / "base", {"config.json": config, "model.safetensors": b"not read"})
    with pytest.raises(UserError, match=r"576,\d+,\d+ parameters are 2\.1 GiB in fp32.*choose a smaller base model"):
        load_model(large, LABELS)


@pytest.mark.parametrize(
    ("family", "options", "frozen"),
    [("bert", {}, "bert.embeddings."), ("xlnet", XLNET, "word_embedding."), ("gpt2", GPT2, "wte.")],
    ids=["together", "xlnet", "gpt2"],
)
def test_embeddings_are_frozen_wherever_they_are(family: str, options: dict, frozen: str) -> None:
    model = classifier(family, **options)
    freeze_embeddings(model)
    kept = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert kept == {name for name, _ in model.named_parameters() if frozen in name}
    assert kept


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("bert", {}),
        ("roberta", {}),
        ("electra", {"embedding_size": 16}),
        ("albert", {"embedding_size": 16}),
        ("distilbert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
        ("modernbert", {}),
        ("modernbert", {"classifier_pooling": "mean"}),
        ("deberta-v2", {}),
        ("gpt2", GPT2),
    ],
    ids=str,
)
def test_check_passes_and_leaves_everything_as_it_was(family: str, options: dict) -> None:
    model = classifier(family, **options)
    weights, state = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    check_rows(model, BASE, [*rows_of(9, 30, 4, 17), {"input_ids": []}])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("family", "options", "length", "message"),
    [
        (
            "roberta",
            {**ROBERTA, "pad_token_id": 1},
            15,
            r"takes 14 tokens, .* has 15; set prepare.max_length=14$",
        ),
        ("bert", {"max_position_embeddings": 16}, 17, r"takes 16 tokens, .* has 17; set prepare.max_length=16$"),
        ("gpt2", {**GPT2, "pad_token_id": None}, 9, r"has no padding token \(.*\); choose another base model"),
        ("xlnet", XLNET, 9, "by the last position, as XLNet does"),
    ],
    ids=["roberta", "bert", "gpt2", "xlnet"],
)
def test_model_that_cannot_be_trained_on_the_rows_is_refused(
    family: str, options: dict, length: int, message: str
) -> None:
    with pytest.raises(UserError, match=rf"^base_model /models/base: .*{message}"):
        check_rows(classifier(family, **options), BASE, rows_of(4, length, 6))


def test_rows_of_the_longest_length_are_accepted() -> None:
    check_rows(classifier("roberta", 1, **ROBERTA), BASE, rows_of(4, 14))


def test_token_beyond_the_embeddings_is_refused() -> None:
    rows = [*rows_of(4, 9), {"input_ids": [7, 50, 8]}]
    with pytest.raises(UserError, match=r"knows 50 tokens, and its tokenizer gives the id 50; give it the tokenizer"):
        check_rows(classifier("bert"), BASE, rows)


def test_whatever_else_a_model_raises_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier("bert")

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes\ndo not match")

    monkeypatch.setattr(model.bert, "forward", fail)
    with pytest.raises(UserError, match=r"fails on the rows \(RuntimeError: shapes do not match\); choose another"):
        check_rows(model, BASE, rows_of(4, 9))
