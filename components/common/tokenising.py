"""Tokenising with the base model's own fast tokenizer, without torch."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Tokenised:
    """Token ids of each text, and how many texts were cut to the longest allowed length."""

    ids: list[list[int]]
    truncated: int


def load_tokenizer(base_model: Path, max_length: int) -> "Tokenizer":
    """Return the tokenizer of a base model, set to cut at ``max_length`` tokens and not to pad.

    Raises:
        UserError: The model has no tokenizer, or cannot take texts of that length.
    """
    from tokenizers import Tokenizer

    longest = json.loads((base_model / "config.json").read_text(encoding="utf-8")).get("max_position_embeddings")
    if max_length < 8 or (longest and max_length > longest):
        raise UserError(f"max_length={max_length}: the base model takes 8 to {longest} tokens")
    file = base_model / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file)) if file.is_file() else _convert_slow_tokenizer(base_model)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _convert_slow_tokenizer(base_model: Path) -> "Tokenizer":
    """Convert a SentencePiece or vocabulary-file tokenizer, which needs transformers."""
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(base_model, trust_remote_code=False).backend_tokenizer
    except (ImportError, OSError, ValueError, AttributeError) as error:
        raise UserError(f"{base_model}: has no tokenizer.json and cannot be converted ({error})") from error


def tokenise(tokenizer: "Tokenizer", texts: list[str]) -> Tokenised:
    """Return the token ids of ``texts``, special tokens included."""
    encodings = tokenizer.encode_batch(texts)
    return Tokenised(
        [encoding.ids for encoding in encodings], sum(bool(encoding.overflowing) for encoding in encodings)
    )


def save_tokenizer(tokenizer: "Tokenizer", base_model: Path, directory: Path) -> None:
    """Write ``tokenizer.json`` (truncation included) and the base model's tokenizer settings."""
    tokenizer.save(str(directory / "tokenizer.json"))
    for name in TOKENIZER_FILES:
        if (base_model / name).is_file():
            shutil.copyfile(base_model / name, directory / name)
