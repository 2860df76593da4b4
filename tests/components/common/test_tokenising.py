"""The base model's tokenizer: what is not one is refused."""

import json
import shutil
from pathlib import Path

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.tokenising import load_tokenizer


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    """A copy of the tiny model."""
    return shutil.copytree(tiny_model, tmp_path / "model")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"max_position_embeddings": "many"}', b"[" * 100_000]
)
def test_broken_configuration_is_named_with_what_to_do(model: Path, content: bytes) -> None:
    (model / "config.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"/config\.json: is not a model's configuration \(.*\); get the base model aga"
    ):
        load_tokenizer(model, 32)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"not JSON", b"\xff\xfe"])
def test_broken_tokenizer_is_named_with_what_to_do(model: Path, content: bytes) -> None:
    (model / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"/tokenizer\.json: is not a fast tokenizer \(.*\); get the base model again"):
        load_tokenizer(model, 32)


def test_length_is_free_where_the_model_sets_none(model: Path) -> None:
    configuration = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**configuration, "max_position_embeddings": None}))
    truncation = load_tokenizer(model, 4096).truncation
    assert truncation
    assert truncation["max_length"] == 4096
    with pytest.raises(UserError, match="max_length=4: the base model takes 8 or more tokens"):
        load_tokenizer(model, 4)
