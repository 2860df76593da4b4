"""Tokenising with the base model's own fast tokenizer, without torch."""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BATCH_ROWS, BATCH_CHARACTERS = 8_192, 2_000_000  # of a row group: what is held at a time
BROKEN = "get the base model again, or name another"
TOKENIZER_FILES = ("tokenizer_config.json", "special_tokens_map.json")


def load_tokenizer(base_model: Path, max_length: int) -> "Tokenizer":
    """Return the tokenizer of a base model, set to cut at ``max_length`` tokens and not to pad.

    Raises:
        UserError: The model has no tokenizer or a broken one, or cannot take texts of that length.
    """
    longest = _longest(base_model / "config.json")
    if max_length < 8 or (longest and max_length > longest):
        raise UserError(
            f"max_length={max_length}: the base model takes 8 {f'to {longest}' if longest else 'or more'} tokens"
        )
    file = base_model / "tokenizer.json"
    tokenizer = _read_tokenizer(file) if file.is_file() else _convert_slow_tokenizer(base_model)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _longest(config: Path) -> int:
    """Return the number of positions that a model has; 0 if its configuration does not say."""
    try:
        return int(json.loads(config.read_text(encoding="utf-8")).get("max_position_embeddings") or 0)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{config}: is not a model's configuration ({error}); {BROKEN}") from error


def _read_tokenizer(file: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise UserError(f"{file}: is not a fast tokenizer ({error}); {BROKEN}") from error


def _convert_slow_tokenizer(base_model: Path) -> "Tokenizer":
    """Convert a SentencePiece or vocabulary-file tokenizer, which needs transformers."""
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(base_model, trust_remote_code=False).backend_tokenizer
    except (ImportError, OSError, ValueError, AttributeError) as error:
        raise UserError(f"{base_model}: has no tokenizer.json and cannot be converted ({error})") from error


class TokenisedTable:
    """A Parquet file of texts, labels and token ids, written batch by batch; counts what it writes.

    Attributes:
        classes: Rows per label.
        tokens: Texts per length in tokens, special tokens included.
        characters: Texts per length in characters.
        truncated: Texts cut to the longest allowed length.
    """

    def __init__(self, path: Path, tokenizer: "Tokenizer") -> None:
        """Create the file: columns text, label, input_ids and length (in tokens)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ids = pa.list_(pa.int32())
        columns = {"text": pa.string(), "label": pa.string(), "input_ids": ids, "length": pa.int32()}
        self._schema = pa.schema(list(columns.items()))
        self._writer: Any = pq.ParquetWriter(path, self._schema)
        self._tokenizer = tokenizer
        self._rows: list[tuple[str, str]] = []
        self._size = 0
        self.classes: Counter[str] = Counter()
        self.tokens: Counter[int] = Counter()
        self.characters: Counter[int] = Counter()
        self.truncated = 0

    def add(self, text: str, label: str) -> None:
        """Add a row."""
        self._rows.append((text, label))
        self._size += len(text)
        if len(self._rows) == BATCH_ROWS or self._size >= BATCH_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        texts, labels = ([row[column] for row in self._rows] for column in (0, 1))
        encodings = self._tokenizer.encode_batch(texts)
        ids = [encoding.ids for encoding in encodings]
        lengths = [len(row) for row in ids]
        self.truncated += sum(bool(encoding.overflowing) for encoding in encodings)
        self.classes.update(labels)
        self.tokens.update(lengths)
        self.characters.update(map(len, texts))
        columns = (texts, labels, ids, lengths)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        self._rows, self._size = [], 0

    def __enter__(self) -> "TokenisedTable":
        """Return the open table."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        """Write what is left, unless an error ends the table, and close the file."""
        if kind is None and self._rows:
            self._flush()
        self._writer.close()


def save_tokenizer(tokenizer: "Tokenizer", base_model: Path, directory: Path) -> None:
    """Write ``tokenizer.json`` (truncation included) and the base model's tokenizer settings."""
    tokenizer.save(str(directory / "tokenizer.json"))
    for name in TOKENIZER_FILES:
        if (base_model / name).is_file():
            shutil.copyfile(base_model / name, directory / name)
