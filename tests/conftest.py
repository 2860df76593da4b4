"""Fixtures that several test modules share."""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from support import CITIES, tiny_rows, tiny_texts, write_csv

if TYPE_CHECKING:
    from kfp_textclf.pipelines.dev_s3 import S3Server

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: spinning threads starve tests that run beside


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with a tokenizer of its own: real formats, milliseconds to train."""
    from transformers import BertConfig, BertModel, BertTokenizer, set_seed

    directory = tmp_path_factory.mktemp("tiny-model")
    words = sorted({word for text in tiny_texts() for word in text.lower().split()})
    letters = sorted(set("".join(words)))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    # A trained vocabulary differs from process to process, and so would what a model learns with it.
    (directory / "vocab.txt").write_text("\n".join([*vocabulary, *(w for w in words if w not in vocabulary)]) + "\n")
    BertTokenizer(vocab=str(directory / "vocab.txt")).save_pretrained(directory)
    set_seed(0)
    config = BertConfig(
        vocab_size=400,  # more than there are
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(directory)
    return directory


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """A directory with ``train.csv`` and ``test.csv`` of three intents, about cities of their own."""
    write_csv(tmp_path / "data" / "train.csv", tiny_rows(CITIES[:24]))
    write_csv(tmp_path / "data" / "test.csv", tiny_rows(CITIES[24:]))
    return tmp_path / "data"


@pytest.fixture
def project(tmp_path: Path, tiny_model: Path, tiny_data: Path) -> SimpleNamespace:
    """A directory with ``params.yaml`` for the tiny model and data, and a way to call the command line in it."""
    import yaml

    params = {
        "dataset": "tiny",
        "store": "",
        "base_model": tiny_model.as_uri(),
        "datasets": {"tiny": {"train": "data/train.csv", "test": "data/test.csv"}},
        "prepare": {"max_length": 32},
        "train": {
            "epochs": 25,
            "early_stopping_patience": 0,
            "learning_rate": 0.002,
            "freeze_embeddings": False,
            "batch_size": 16,
        },
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Server"]:
    """A real S3 server, for tests marked ``s3``; one for each test process."""
    from kfp_textclf.pipelines.dev_s3 import s3_server

    with s3_server(tmp_path_factory.mktemp("s3"), public="public") as server:
        yield server


@pytest.fixture
def s3_uri(s3_server: "S3Server", monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty prefix on the S3 server, and the environment that reaches it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3_server.bucket}/{uuid.uuid4().hex}"
