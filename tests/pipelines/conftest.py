"""Fixtures of the tests of pipelines and commands."""

from pathlib import Path

import pytest
from support import artifact


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """An untrained classifier, exported for real: it answers something, always the same."""
    from kfp_textclf.components.export.torch_export import TorchClassifier, to_onnx
    from kfp_textclf.components.export.variants import write_model
    from kfp_textclf.components.train.fine_tuning import load_model

    source, target = tmp_path_factory.mktemp("torch"), tmp_path_factory.mktemp("onnx")
    load_model(tiny_model, ["fare", "flight", "meal"]).save_pretrained(source)
    (source / "tokenizer.json").write_bytes((tiny_model / "tokenizer.json").read_bytes())
    write_model(to_onnx(TorchClassifier(source).model, 17), target / "model.onnx", source)
    return artifact(target / "artifact", {p.name: p.read_bytes() for p in target.iterdir() if p.is_file()})
