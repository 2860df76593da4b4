"""The commands ``kfp-textclf models``, on both kinds of store, and ``predict`` from a store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import artifact
from typer.testing import CliRunner

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.pipelines.models import app


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    file = request.param == "file"
    return ModelStore.open((tmp_path / "store").as_uri() if file else request.getfixturevalue("s3_uri"))


@pytest.fixture
def versions(store: ModelStore, tmp_path: Path) -> list[str]:
    """Three champions, one after the other."""
    made: list[str] = []
    for number in range(3):
        metrics = {"matthews_correlation": 0.5 + number / 10, "accuracy": 0.75}
        files = {"model.onnx": str(number), "evaluation.json": json.dumps({"onnx_int8": metrics})}
        source = artifact(tmp_path / f"model {number}", files)
        version = store.add({name: source / name for name in files}, "test")
        store.promote(version, store.uri_of(made[-1]) if made else "", metrics)
        made.append(version)
    return made


def models(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_versions_newest_first(store: ModelStore, versions: list[str]) -> None:
    header, *lines = models("list", store.store.uri).splitlines()
    assert header.split() == ["version", "published", "MCC", "accuracy", "size"]
    assert [line.split()[0] for line in lines] == versions[::-1]
    assert [line.split("  ")[-1] for line in lines] == ["champion", "champion 1 before", "champion 2 before"]
    assert [line.split()[3:5] for line in lines] == [["0.7000", "0.7500"], ["0.6000", "0.7500"], ["0.5000", "0.7500"]]


def test_list_shows_a_damaged_version(store: ModelStore, versions: list[str]) -> None:
    store.store.write(f"versions/{versions[0]}/manifest.json", b"{}")
    last = models("list", store.store.uri).splitlines()[-1]
    assert last.startswith(f"{versions[0]}  damaged: ")


def test_rollback_says_where_from_and_where_to(store: ModelStore, versions: list[str]) -> None:
    assert models("rollback", store.store.uri) == f"champion is {versions[1]} again, was {versions[2]}\n"
    assert models("rollback", store.store.uri, "--to", versions[1]) == f"{versions[1]} is the champion already\n"
    assert (store.champion() or {})["version"] == versions[1]
    models("rollback", store.store.uri)
    with pytest.raises(UserError, match=f"there was no champion before {versions[0]}; name a version by --to"):
        models("rollback", store.store.uri)


def test_prune_deletes_what_its_dry_run_names(store: ModelStore, versions: list[str]) -> None:
    assert models("prune", store.store.uri, "--keep", "1", "--dry-run") == f"would delete {versions[0]}\n"
    assert store.versions() == sorted(versions)
    assert models("prune", store.store.uri, "--keep", "1") == f"deleted {versions[0]}\n"
    assert store.versions() == sorted(versions[1:])
    assert models("prune", store.store.uri, "--keep", "1") == "nothing to delete\n"


def test_directory_is_a_store_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no published models"):
        models("list", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def predict(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "predict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_predict_reads_the_champion(
    store: ModelStore, onnx_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    names = [path.name for path in onnx_model.iterdir() if path.name != "manifest.json"]
    version = store.add({name: onnx_model / name for name in names}, "test")
    store.promote(version, "", {})
    expected = predict(str(onnx_model), "a flight").stdout
    assert expected.count("\t") == 2
    for uri in (store.store.uri, store.uri_of(version)):
        assert predict(uri, "a flight").stdout == expected
    store.store.write(f"versions/{version}/model.onnx", b"evil")
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "another"))
    refused = predict(store.store.uri, "a flight")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "model.onnx: differs from its manifest; " in refused.stderr
