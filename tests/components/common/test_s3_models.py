"""Base models in a bucket of a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import artifact, read

from kfp_textclf.components.common.base_models import resolve_base_model, versioned
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import ObjectStore, open_store

pytestmark = pytest.mark.s3


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def store(s3_uri: str) -> ObjectStore:
    return open_store(s3_uri)


def upload(store: ObjectStore, directory: Path) -> None:
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        store.upload(path, path.relative_to(directory).as_posix())


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_model_arrives_once_and_is_usable(store: ObjectStore, cache: Path, tiny_model: Path, monkeypatch) -> None:
    from transformers import AutoModel, AutoTokenizer

    upload(store, tiny_model)
    directory = resolve_base_model(store.uri)
    assert AutoModel.from_pretrained(directory).config.hidden_size == 64
    assert len(AutoTokenizer.from_pretrained(directory)("book a flight")["input_ids"]) > 2
    for name in ("config.json", "model.safetensors", "vocab.txt"):
        assert (directory / name).read_bytes() == (tiny_model / name).read_bytes()
    monkeypatch.setattr(type(store), "download", lambda *_: pytest.fail("was there already"))
    assert resolve_base_model(f"{store.uri}/") == directory
    assert entries(cache) == [directory.name]


def test_neither_pickles_nor_code_nor_other_keys_are_fetched(store: ObjectStore, cache: Path) -> None:
    for key in ("config.json", "pytorch_model.bin", "modeling.py", "1_Pooling/config.json", "x.pkl"):
        store.write(key, b"{}")
    directory = resolve_base_model(store.uri)
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert names == {"config.json", "1_Pooling/config.json", "manifest.json"}


def test_new_version_is_another_directory(store: ObjectStore, cache: Path) -> None:
    store.write("config.json", b"{}")
    first = resolve_base_model(store.uri)
    store.write("config.json", b'{"a": 1}')
    second = resolve_base_model(store.uri)
    assert (read(first / "config.json"), read(second / "config.json")) == ({}, {"a": 1})
    uri = versioned(store.uri)
    assert resolve_base_model(uri) == second
    store.write("config.json", b"{}")
    with pytest.raises(UserError, match="has changed since the run began"):
        resolve_base_model(uri)


def test_manifest_is_checked(store: ObjectStore, cache: Path, tmp_path: Path) -> None:
    upload(store, artifact(tmp_path / "model", {"config.json": "{}", "model.safetensors": "w", "x.bin": "b"}))
    store.write("extra.json", b"not in the manifest")
    directory = resolve_base_model(store.uri)
    assert not (directory / "extra.json").exists()
    store.write("model.safetensors", b"v")
    with pytest.raises(UserError, match=r"model\.safetensors: differs from its manifest.*sha256 4c94485e"):
        resolve_base_model(store.uri)
    assert entries(cache) == [directory.name], "nothing half-written"


def test_manifest_without_the_configuration_is_refused(store: ObjectStore, cache: Path, tmp_path: Path) -> None:
    upload(store, artifact(tmp_path / "model", {"model.safetensors": "w"}))
    store.write("config.json", b"{}")
    with pytest.raises(UserError, match=r"base_model .*: .* holds no config\.json"):
        resolve_base_model(store.uri)


def test_cached_model_that_was_changed_is_refused(store: ObjectStore, cache: Path) -> None:
    store.write("config.json", b"{}")
    (resolve_base_model(store.uri) / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json: differs from its manifest; delete .* and run again"):
        resolve_base_model(store.uri)


def test_many_at_once_share_one_directory(store: ObjectStore, cache: Path, tiny_model: Path) -> None:
    upload(store, tiny_model)
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(resolve_base_model, [store.uri] * 6))
    assert len(found) == 1
    assert entries(cache) == [found.pop().name]


@pytest.mark.parametrize("uri", ["s3://", "s3://B/x", "s3://abc/../x"])
def test_malformed_uri_is_refused(uri: str, cache: Path) -> None:
    with pytest.raises(UserError, match=r"base_model.*is not of the form"):
        resolve_base_model(uri)


def test_missing_model_is_named(store: ObjectStore, cache: Path) -> None:
    with pytest.raises(UserError, match=r"base_model 's3://.*': holds no config\.json; name a prefix with"):
        resolve_base_model(store.uri)
    assert not cache.exists() or not entries(cache)


def test_cache_that_cannot_be_written_is_named(store: ObjectStore, tmp_path: Path, monkeypatch) -> None:
    store.write("config.json", b"{}")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"file/cache: cannot be written .*; set KFP_TEXTCLF_CACHE"):
        resolve_base_model(store.uri)


def test_without_a_chosen_cache_it_is_the_users_own(store: ObjectStore, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("KFP_TEXTCLF_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store.write("config.json", b"{}")
    directory = resolve_base_model(store.uri)
    assert directory.parent.parent == tmp_path
    assert directory.parent.stat().st_mode & 0o77 == 0
