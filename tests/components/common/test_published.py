"""Reading published models: from a directory and from S3, from the cache, and never a byte that is not theirs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import artifact

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.published import cache_directory, open_version, version_uri

FILES = {"model.onnx": b"weights" * 1000, "config.json": b"{}", "evaluation.json": b'{"rows": 3}'}


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """A store with a champion."""
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    file = request.param == "file"
    store = ModelStore.open((tmp_path / "a store").as_uri() if file else request.getfixturevalue("s3_uri"))
    source = artifact(tmp_path / "source", FILES)
    store.promote(store.add({name: source / name for name in FILES}, "test"), "", {})
    return store


@pytest.fixture
def version(store: ModelStore) -> str:
    return (store.champion() or {})["version"]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "manifest.json"}


def test_store_means_its_champion(store: ModelStore, version: str) -> None:
    for uri in (store.store.uri, store.store.uri + "/", store.uri_of(version), store.uri_of(version) + "/"):
        assert version_uri(uri).rstrip("/") == store.uri_of(version)
        assert contents(open_version(uri)) == FILES
    assert open_version(store.store.uri).name == version


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_byte_anywhere_is_refused(store: ModelStore, version: str, data: st.DataObject) -> None:
    """Whichever file, wherever in it, changed, cut or lengthened: both sha256 are named."""
    name = data.draw(st.sampled_from(sorted(FILES)))
    original = FILES[name]
    position = data.draw(st.integers(0, len(original) - 1))
    flipped = bytes([original[position] ^ data.draw(st.integers(1, 255))])
    tampered = data.draw(
        st.sampled_from(
            [original[:position] + flipped + original[position + 1 :], original[:position], original + flipped]
        )
    )
    store.store.write(f"versions/{version}/{name}", tampered)
    try:
        with pytest.raises(
            UserError, match=rf"{name}: differs .*it is sha256 [0-9a-f]{{64}}, .*expected is sha256 [0-9a-f]{{64}}"
        ):
            open_version(store.store.uri)
    finally:
        store.store.write(f"versions/{version}/{name}", original)
    if store.store.uri.startswith("s3://"):
        assert not cache_directory().exists() or not list(cache_directory().iterdir())


@pytest.mark.parametrize("name", sorted(FILES))
def test_missing_object_is_refused(store: ModelStore, version: str, name: str) -> None:
    store.store.delete(f"versions/{version}/{name}")
    with pytest.raises(UserError, match=rf"{name}: (does not exist|is missing from the artifact)"):
        open_version(store.store.uri)


def test_manifest_of_other_content_is_refused(store: ModelStore, version: str) -> None:
    """Bytes and manifest changed together: the version's own name tells."""
    key = f"versions/{version}/manifest.json"
    other = store.add({"model.onnx": _file(store, b"evil")}, "test")
    stored = store.store.read(f"versions/{other}/manifest.json")
    assert stored
    store.store.write(f"versions/{version}/model.onnx", b"evil")
    store.store.write(key, stored.content)
    with pytest.raises(UserError, match=rf"manifest\.json: names other content .*{version}.* expected, is {other}"):
        open_version(store.store.uri)


def _file(store: ModelStore, content: bytes) -> Path:
    path = cache_directory().parent.parent / "evil.onnx"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["../../../evil", "/tmp/evil", "a/../../b", "", "manifest.json"])
def test_manifest_that_leaves_the_version_is_refused(store: ModelStore, version: str, name: str) -> None:
    manifest = {"schema_version": 1, "files": {name: {"sha256": "0" * 64, "size": 1}}}
    store.store.write(f"versions/{version}/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(UserError, match=r"manifest"):
        open_version(store.store.uri)


def test_version_without_a_manifest_does_not_exist(store: ModelStore, version: str) -> None:
    store.store.delete(f"versions/{version}/manifest.json")
    for uri in (store.store.uri, store.uri_of(version)):
        with pytest.raises(UserError, match="is no published version"):
            open_version(uri)


def test_file_beside_the_manifest_is_refused_or_left_behind(store: ModelStore, version: str) -> None:
    store.store.write(f"versions/{version}/calibration.json", b"evil")
    if store.store.uri.startswith("s3://"):
        assert contents(open_version(store.store.uri)) == FILES
    else:
        with pytest.raises(UserError, match=r"calibration\.json: is not in the manifest"):
            open_version(store.store.uri)


@pytest.mark.parametrize("uri", ["file:///no/such/store", "file://host/x", "https://example.org/x", "s3://a", "x"])
def test_what_is_no_store_is_named(uri: str) -> None:
    with pytest.raises(UserError, match=r"champion_uri=.*(neither a published version nor|is not of the form)"):
        open_version(uri, "champion_uri")


@pytest.mark.s3
class TestCache:
    """What was downloaded."""

    @pytest.fixture
    def store(self, s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
        monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
        store, source = ModelStore.open(s3_uri), artifact(tmp_path / "source", FILES)
        store.promote(store.add({name: source / name for name in FILES}, "test"), "", {})
        return store

    def test_second_use_reads_no_object(self, store: ModelStore, version: str) -> None:
        uri = store.uri_of(version)
        first = open_version(uri)
        store.delete(version)
        assert open_version(uri) == first

    @pytest.mark.parametrize("name", [*sorted(FILES), "manifest.json"])
    def test_tampered_cache_is_refused(self, store: ModelStore, name: str) -> None:
        directory = open_version(store.store.uri)
        (directory / name).write_bytes(b'{"schema_version": 1, "files": {}}')
        with pytest.raises(UserError, match=rf"{name}: (differs|names other).* is (sha256 )?[0-9a-f]+"):
            open_version(store.store.uri)

    def test_processes_at_once_share_one_whole_copy(self, store: ModelStore, version: str) -> None:
        code = (
            "import sys; from kfp_textclf.components.common.published import open_version\n"
            "print(open_version(sys.argv[1]))"
        )
        command = [sys.executable, "-c", code, store.store.uri]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        assert {process.communicate()[0].strip() for process in running} == {str(cache_directory() / version)}
        assert [path.name for path in cache_directory().iterdir()] == [version]

    def test_cache_that_cannot_be_written_is_named(self, store: ModelStore, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "file"))
        with pytest.raises(UserError, match=r"cannot be written .*; set KFP_TEXTCLF_CACHE"):
            open_version(store.store.uri)


def test_cache_follows_the_conventions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KFP_TEXTCLF_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_directory() == Path(os.path.expanduser("~/.cache/kfp-textclf/models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory() == tmp_path / "kfp-textclf" / "models"
