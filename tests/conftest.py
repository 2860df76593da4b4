"""Fixtures that several test modules share."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

WORDS = [
    "book",
    "a",
    "flight",
    "to",
    "boston",
    "denver",
    "what",
    "does",
    "it",
    "cost",
    "fare",
    "meal",
    "is",
    "there",
    "on",
]
INTENTS = {
    "flight": ("book a flight to {}", "i need to fly to {}", "show flights to {}"),
    "fare": ("what does a ticket to {} cost", "how much is the fare to {}", "price to {} please"),
    "meal": ("is there a meal on the flight to {}", "do you serve food to {}", "which meal on {}"),
}
CITIES = [
    f"{first}{last}"
    for first in ("bo", "den", "dal", "sea", "mia")
    for last in ("ston", "ver", "las", "ttle", "mi", "ton")
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with a tokenizer of its own: real formats, milliseconds to train."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast, set_seed

    directory = tmp_path_factory.mktemp("tiny-model")
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(tiny_texts(), vocab_size=400, show_progress=False)
    tokenizer.save_model(str(directory))
    BertTokenizerFast(vocab=str(directory / "vocab.txt")).save_pretrained(directory)
    set_seed(0)
    config = BertConfig(
        vocab_size=400,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(directory)
    return directory


def tiny_texts() -> list[str]:
    """Return every text that `tiny_rows` can hold."""
    return [template.format(city) for templates in INTENTS.values() for template in templates for city in CITIES]


def tiny_rows(cities: Sequence[str] = CITIES) -> list[tuple[str, str]]:
    """Return (label, text) rows of three intents, nine a city."""
    return [(label, template.format(city)) for city in cities for label, ts in INTENTS.items() for template in ts]


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write rows as CSV without a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """A directory with ``train.csv`` and ``test.csv`` of three intents, about cities of their own."""
    write_csv(tmp_path / "data" / "train.csv", tiny_rows(CITIES[:24]))
    write_csv(tmp_path / "data" / "test.csv", tiny_rows(CITIES[24:]))
    return tmp_path / "data"


def artifact(directory: Path, files: dict[str, bytes | str]) -> Path:
    """Write files as an artifact with a manifest, as a step would have left it."""
    from kfp_textclf.components.common.artifacts import atomic_directory

    with atomic_directory(directory, "test") as target:
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> SimpleNamespace:
    """A directory with ``params.yaml`` for the tiny model and data, and a way to call the command line in it."""
    import yaml

    params = {
        "dataset": "tiny",
        "base_model": tiny_model.as_uri(),
        "datasets": {"tiny": {"train": "data/train.csv", "test": "data/test.csv"}},
        "prepare": {"max_length": 32},
        "train": {"epochs": 6, "learning_rate": 0.003, "freeze_embeddings": False, "batch_size": 16},
        "evaluate": {"floor": 0.5, "max_int8_drop": 1.0, "min_baseline_gain": -2.0},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    return SimpleNamespace(root=tmp_path, runs=tmp_path / "runs", run=_caller(tmp_path), data=tiny_data)


def _caller(directory: Path) -> Callable[..., "CommandResult"]:
    import subprocess
    import sys

    def call(*arguments: str, input: str | None = None) -> CommandResult:
        command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, input=input, check=False)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    return call


class CommandResult(SimpleNamespace):
    """Exit code and output of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        super().__init__(code=code, out=out, err=err)


def read(path: Path) -> dict:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
