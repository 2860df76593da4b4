"""The artifacts of each stage, made once by the stage before it on the tiny model."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from stage_inputs import CITIES, as_csv
from support import artifact, tiny_rows

EPOCHS = 5

# Read when torch is first imported: threads that spin while they wait crawl where other processes want the cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw data set: train.csv and test.csv about different cities."""
    files = {"train.csv": as_csv(tiny_rows(CITIES[:15])), "test.csv": as_csv(tiny_rows(CITIES[15:]))}
    return artifact(tmp_path_factory.mktemp("stages") / "raw", files)


@pytest.fixture(scope="session")
def prepared(raw: Path, tiny_model: Path) -> Path:
    """A prepared data set of three classes."""
    from kfp_textclf.components.prepare.stage import prepare

    output = raw.with_name("prepared")
    base_model = tiny_model.as_uri()
    prepare(str(raw), str(output), base_model=base_model, train_file="train.csv", test_file="test.csv", max_length=32)
    return output


@pytest.fixture(scope="session")
def trained(prepared: Path, tiny_model: Path) -> SimpleNamespace:
    """A fine-tuned tiny model: its directory, and what the stage said."""
    from kfp_textclf.components.train.settings import TrainSettings
    from kfp_textclf.components.train.stage import train

    output = prepared.with_name("trained")
    settings = TrainSettings(
        epochs=EPOCHS, batch_size=16, learning_rate=3e-3, freeze_embeddings=False, precision="fp32", seed=4
    )
    result = train(str(prepared), str(output), base_model=tiny_model.as_uri(), settings=settings)
    return SimpleNamespace(directory=output, result=result, settings=settings)


@pytest.fixture(scope="session")
def exported(trained: SimpleNamespace, prepared: Path) -> SimpleNamespace:
    """The fp32 and the int8 model, and what the stage said."""
    from kfp_textclf.components.export.stage import export

    onnx, int8 = prepared.with_name("onnx"), prepared.with_name("onnx_int8")
    result = export(str(trained.directory), str(prepared), str(onnx), str(int8))
    return SimpleNamespace(onnx=onnx, int8=int8, result=result)


@pytest.fixture(scope="session")
def evaluated(exported: SimpleNamespace, prepared: Path) -> SimpleNamespace:
    """An evaluation with the verdict promote, and what the stage said."""
    from kfp_textclf.components.evaluate.gate import GateSettings
    from kfp_textclf.components.evaluate.stage import evaluate

    output = prepared.with_name("evaluation")
    settings = GateSettings(floor=0.0, max_int8_drop=1.0, min_baseline_gain=-2.0)
    result = evaluate(str(prepared), str(exported.onnx), str(exported.int8), str(output), settings=settings)
    assert result.verdict == "promote", result.reason
    return SimpleNamespace(directory=output, result=result)
