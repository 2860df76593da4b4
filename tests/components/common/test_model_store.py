"""The store of published models: versions that never change, and the champion among them."""

from pathlib import Path

import pytest
from stage_inputs import remains

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.object_store import local_path

METRICS = {"matthews_correlation": 0.9}


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore.open((tmp_path / "store").as_uri())


@pytest.fixture
def add(tmp_path: Path, store: ModelStore):
    """Store one file of that content, and return the version."""

    def call(content: str) -> str:
        (tmp_path / "model.onnx").write_text(content)
        return store.add({"model.onnx": tmp_path / "model.onnx"}, "test")

    return call


def test_store_need_not_exist(store: ModelStore) -> None:
    assert store.champion() is None
    assert not store.root.exists()


def test_version_is_named_by_its_content(store: ModelStore, add) -> None:
    first = add("weights")
    assert add("other weights") != first
    assert (verified(store.directory(first)) / "model.onnx").read_text() == "weights"


def test_version_depends_on_the_names_of_its_files(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("same")
    assert store.add({"a": file}, "test") != store.add({"b": file}, "test")


def test_storing_the_same_again_changes_nothing(store: ModelStore, add) -> None:
    version = add("weights")
    file = store.directory(version) / "model.onnx"
    before = (file.stat().st_ino, file.stat().st_mtime_ns)
    assert add("weights") == version
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == before


def test_tampered_version_is_refused(store: ModelStore, add) -> None:
    version = add("weights")
    (store.directory(version) / "model.onnx").write_text("evil")
    with pytest.raises(UserError, match=rf"{version}/model\.onnx: differs from its manifest"):
        add("weights")


def test_first_promotion_makes_the_champion(store: ModelStore, add) -> None:
    version = add("weights")
    record = store.promote(version, "", METRICS)
    assert record == store.champion() == read_json(store.root / "champion.json")
    expected = {"version": version, "uri": store.directory(version).as_uri(), "previous": "", "metrics": METRICS}
    assert record == expected


def test_champion_moves_when_it_is_the_one_that_was_compared_with(store: ModelStore, add) -> None:
    old = store.promote(add("old"), "", METRICS)
    new = store.promote(add("new"), old["uri"], METRICS)
    assert store.champion() == new
    assert new["previous"] == old["uri"]


def test_promoting_the_champion_again_changes_nothing(store: ModelStore, add) -> None:
    old = store.promote(add("old"), "", METRICS)
    assert store.promote(old["version"], "file:///something/else", {}) == old


@pytest.mark.parametrize("expected", ["", "file:///store/versions/0123"], ids=["none", "another"])
def test_champion_that_moved_meanwhile_stays(store: ModelStore, add, expected: str) -> None:
    champion = store.promote(add("champion"), "", METRICS)
    late = add("late")
    with pytest.raises(UserError, match=rf"the champion is now {champion['version']}, .*; run the evaluation again"):
        store.promote(late, expected, METRICS)
    assert store.champion() == champion
    assert [name for name in remains(store.root) if name.startswith(".")] == []


def test_champion_that_vanished_is_noticed(store: ModelStore, add) -> None:
    with pytest.raises(UserError, match="the champion is now none, but this model was compared with 0123"):
        store.promote(add("new"), "file:///store/versions/0123", METRICS)
    assert store.champion() is None


@pytest.mark.parametrize("uri", ["", "store", "/store", "s3://bucket/models", "file://host/models", "file:store"])
def test_store_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"publish_to=.* is not of the form file:///absolute/path"):
        ModelStore.open(uri)


def test_escaped_characters_of_a_uri_are_the_path(tmp_path: Path) -> None:
    assert local_path((tmp_path / "a b#ü").as_uri(), "x") == tmp_path / "a b#ü"
