"""The store of published models, in a directory and in S3: versions that never change, and the champion among them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.model_versions import content_id
from kfp_textclf.components.common.object_store import LocalStore, ObjectStore, Stored, local_path
from kfp_textclf.components.common.published import open_version

METRICS = {"matthews_correlation": 0.9}


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URI of an empty store."""
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    return (tmp_path / "a store").as_uri() if request.param == "file" else request.getfixturevalue("s3_uri")


@pytest.fixture
def store(uri: str) -> ModelStore:
    return ModelStore.open(uri)


@pytest.fixture
def add(tmp_path: Path, store: ModelStore) -> Callable[[str], str]:
    """Store two files, one of that content, and return the version."""
    return lambda content: store.add(model_files(tmp_path, content), "test")


@pytest.fixture
def champions(store: ModelStore, add: Callable[[str], str]) -> Callable[..., list[str]]:
    """Publish and promote one model after the other; return the versions."""

    def call(*contents: str) -> list[str]:
        for content in contents:
            current = store.champion()
            store.promote(add(content), current["uri"] if current else "", METRICS)
        return [add(content) for content in contents]

    return call


def model_files(directory: Path, content: str) -> dict[str, Path]:
    """Write the files of a model."""
    (directory / "model.onnx").write_text(content)
    (directory / "config.json").write_text("{}")
    return {name: directory / name for name in ("model.onnx", "config.json")}


def content_of(store: ModelStore) -> dict[str, str]:
    """Return every object with its tag."""
    return {key: (store.store.read(key) or Stored(b"", "")).tag for key in store.store.keys("")}


def champion_of(store: ModelStore) -> str:
    return (store.champion() or {"version": ""})["version"]


def test_store_need_not_exist(store: ModelStore) -> None:
    assert store.champion() is None
    assert store.versions() == []
    assert content_of(store) == {}


def test_version_is_named_by_its_content(store: ModelStore, add) -> None:
    first = add("weights")
    assert add("other weights") != first
    directory = open_version(store.uri_of(first))
    assert {path.name for path in directory.iterdir()} == {"model.onnx", "config.json", "manifest.json"}
    assert (directory / "model.onnx").read_text() == "weights"


def test_version_depends_on_the_names_of_its_files(store: ModelStore, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("same")
    assert store.add({"a": file}, "test") != store.add({"b": file}, "test")


def test_storing_the_same_again_changes_nothing(store: ModelStore, add) -> None:
    version = add("weights")
    before = content_of(store)
    assert add("weights") == version
    assert content_of(store) == before


@pytest.mark.parametrize("name", ["model.onnx", "config.json"])
@pytest.mark.parametrize("damage", ["changed", "absent"])
def test_damaged_version_is_refused_and_left_as_it_is(store: ModelStore, add, name: str, damage: str) -> None:
    version = add("weights")
    key = f"versions/{version}/{name}"
    store.store.delete(key)
    if damage == "changed":
        store.store.write(key, b"evil")
    before = content_of(store)
    with pytest.raises(
        UserError, match=rf"{version}/{name}: .*sha256 [0-9a-f]{{64}} expected, is ([0-9a-f]{{64}}|absent)\)"
    ):
        add("weights")
    assert content_of(store) == before
    store.store.delete(f"versions/{version}/manifest.json")
    assert add("weights") == version
    assert (open_version(store.uri_of(version)) / "model.onnx").read_text() == "weights"


def test_first_promotion_makes_the_champion(store: ModelStore, add) -> None:
    version = add("weights")
    record = store.promote(version, "", METRICS)
    assert record == store.champion()
    assert (record["version"], record["uri"]) == (version, store.uri_of(version))
    assert (record["previous"], record["metrics"], record["history"]) == ("", METRICS, [])
    assert open_version(record["uri"]) == open_version(store.store.uri)


def test_champion_moves_when_it_is_the_one_that_was_compared_with(store: ModelStore, add) -> None:
    old = store.promote(add("old"), "", METRICS)
    new = store.promote(add("new"), old["uri"], METRICS)
    assert store.champion() == new
    assert new["previous"] == old["uri"]
    assert new["history"] == [{"version": old["version"], "metrics": METRICS}]


def test_promoting_the_champion_again_changes_nothing(store: ModelStore, add) -> None:
    old = store.promote(add("old"), "", METRICS)
    assert store.promote(old["version"], "file:///something/else", {}) == old


@pytest.mark.parametrize("expected", ["", "file:///store/versions/0123"], ids=["none", "another"])
def test_champion_that_moved_meanwhile_stays(store: ModelStore, add, expected: str) -> None:
    champion = store.promote(add("champion"), "", METRICS)
    late = add("late")
    with pytest.raises(UserError, match=rf"the champion is now {champion['version']}, .*; run the pipeline again"):
        store.promote(late, expected, METRICS)
    assert store.champion() == champion


def test_champion_that_vanished_is_noticed(store: ModelStore, add) -> None:
    with pytest.raises(UserError, match="the champion is now none, but this model was compared with 0123"):
        store.promote(add("new"), "file:///store/versions/0123", METRICS)
    assert store.champion() is None


def test_what_is_no_version_is_not_promoted(store: ModelStore) -> None:
    with pytest.raises(UserError, match="is no published version"):
        store.promote("0" * 16, "", METRICS)
    assert store.champion() is None


def test_record_of_an_older_release_is_understood(store: ModelStore, add) -> None:
    old, new = add("old"), add("new")
    record = {"version": new, "uri": store.uri_of(new), "previous": store.uri_of(old), "metrics": METRICS}
    store.store.write("champion.json", json.dumps(record).encode())
    assert store.rollback()["version"] == old


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"version": "../x", "previous": "", "metrics": {}}', b"\xff"])
def test_damaged_record_is_named(store: ModelStore, content: bytes) -> None:
    store.store.write("champion.json", content)
    with pytest.raises(UserError, match=r"champion\.json: is not a champion's record"):
        store.champion()


def test_rollback_goes_back_one_at_a_time(store: ModelStore, champions) -> None:
    first, second, third = champions("1", "2", "3")
    assert champion_of(store) == third
    assert store.rollback()["version"] == second
    record = store.rollback()
    assert (record["version"], record["previous"], record["history"]) == (first, "", [])
    with pytest.raises(UserError, match=f"there was no champion before {first}"):
        store.rollback()
    assert store.rollback(third)["previous"] == store.uri_of(first)
    assert champion_of(store) == third


def test_rollback_to_a_named_champion_forgets_those_after_it(store: ModelStore, champions) -> None:
    first, _, _ = champions("1", "2", "3")
    assert store.rollback(first)["history"] == []


def test_rollback_of_an_empty_store_is_refused(store: ModelStore) -> None:
    with pytest.raises(UserError, match="has no champion; publish a model first"):
        store.rollback()


def test_rollback_to_a_damaged_version_is_refused(store: ModelStore, champions) -> None:
    first, second = champions("1", "2")
    store.store.write(f"versions/{first}/model.onnx", b"evil")
    with pytest.raises(UserError, match=r"model\.onnx: differs from its manifest"):
        store.rollback()
    assert champion_of(store) == second


@pytest.mark.parametrize("name", ["x", "0" * 16, "../../etc"])
def test_rollback_to_what_is_no_version_is_refused(store: ModelStore, champions, name: str) -> None:
    champions("1")
    with pytest.raises(UserError, match=r"is no published version|is not of 16 hexadecimal digits"):
        store.rollback(name)


def test_prune_keeps_the_champion_the_one_before_and_the_newest(store: ModelStore, champions, add) -> None:
    versions = champions("1", "2", "3", "4")
    unpromoted = add("5")
    assert store.prune(1, dry_run=True) == [versions[1], versions[0]]
    assert store.versions() == sorted([*versions, unpromoted])
    assert store.prune(1) == [versions[1], versions[0]]
    assert store.versions() == sorted([versions[2], versions[3], unpromoted])
    assert {key.split("/")[1] for key in store.store.keys("versions/")} == set(store.versions())
    record = store.champion() or {}
    assert ([entry["version"] for entry in record["history"]], record["deleting"]) == ([versions[2]], [])
    assert store.prune(1) == []
    assert store.rollback()["version"] == versions[2]


def test_prune_after_a_rollback_keeps_the_champion(store: ModelStore, champions) -> None:
    first, second, third = champions("1", "2", "3")
    store.rollback(first)
    assert store.prune(1) == [second]
    assert champion_of(store) == first
    assert store.versions() == sorted([first, third])


def test_prune_without_a_champion_deletes_nothing(store: ModelStore, add) -> None:
    add("1")
    add("2")
    assert store.prune(1) == []
    assert len(store.versions()) == 2


def test_pruned_version_can_be_published_again(store: ModelStore, champions, add) -> None:
    first, _, third = champions("1", "2", "3")
    assert store.prune(1) == [first]
    store.promote(add("1"), store.uri_of(third), METRICS)
    assert champion_of(store) == first


def test_version_that_is_being_deleted_is_not_promoted(store: ModelStore, champions, add) -> None:
    first, _, third = champions("1", "2", "3")
    with pytest.raises(Killed):
        ModelStore(Interrupted(store.store, "delete", 0)).prune(1)
    for again in (lambda: store.promote(first, store.uri_of(third), METRICS), lambda: store.rollback(first)):
        with pytest.raises(UserError, match="is being deleted"):
            again()
    assert champion_of(store) == third
    assert store.prune(1) == [first]
    store.promote(add("1"), store.uri_of(third), METRICS)
    assert (open_version(store.store.uri) / "model.onnx").read_text() == "1"


def test_promotion_during_a_prune_wins_or_is_refused(store: ModelStore, champions) -> None:
    """Whatever the order, what was deleted is not the champion: the record has changed in between."""
    first, _, third = champions("1", "2", "3")

    def promote() -> None:
        store.promote(first, store.uri_of(third), METRICS)

    assert ModelStore(Disturbed(store.store, promote)).prune(1) != [first]
    assert champion_of(store) == first
    open_version(store.store.uri)


def test_prune_during_a_promotion_is_noticed(store: ModelStore, champions) -> None:
    first, _, third = champions("1", "2", "3")
    with pytest.raises(UserError, match="is no published version"):
        ModelStore(Disturbed(store.store, lambda: store.prune(1))).promote(first, store.uri_of(third), METRICS)
    assert champion_of(store) == third


class Killed(BaseException):
    """Stands in for the end of a process."""


@dataclass
class Interrupted(ObjectStore):
    """A store whose user is killed before or after its n-th change."""

    inner: ObjectStore
    only: str = ""
    left: int = 0
    after: bool = False
    uri: str = field(init=False)

    def __post_init__(self) -> None:
        self.uri = self.inner.uri

    def _change(self, name: str, *arguments: Any, **options: Any) -> Any:
        if self.only not in ("", name):
            return getattr(self.inner, name)(*arguments, **options)
        self.left -= 1
        if self.left < 0 and not self.after:
            raise Killed
        result = getattr(self.inner, name)(*arguments, **options)
        if self.left < 0:
            raise Killed
        return result

    def read(self, key: str) -> Stored | None:
        return self.inner.read(key)

    def write(self, key: str, content: bytes, expected: str | None = None) -> str:
        return self._change("write", key, content, expected)

    def upload(self, source: Path, key: str) -> None:
        self._change("upload", source, key)

    def size(self, key: str) -> int | None:
        return self.inner.size(key)

    def download(self, key: str, target: Path) -> None:
        self.inner.download(key, target)

    def keys(self, prefix: str = "") -> Iterator[str]:
        return self.inner.keys(prefix)

    def delete(self, key: str) -> None:
        self._change("delete", key)

    def uri_of(self, key: str) -> str:
        return self.inner.uri_of(key)


@dataclass
class Disturbed(Interrupted):
    """A store that somebody else uses right before the first compare-and-swap."""

    only: Any = None

    def write(self, key: str, content: bytes, expected: str | None = None) -> str:
        disturb, self.only = self.only, None
        if disturb:
            disturb()
        return self.inner.write(key, content, expected)

    def delete(self, key: str) -> None:
        self.inner.delete(key)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_publisher_that_is_killed_anywhere_leaves_the_old_champion_or_the_new_one(
    store: ModelStore, champions, tmp_path: Path, after: bool
) -> None:
    """Kill it at every change in turn; readers see something whole, and a repetition completes it."""
    old = champions("old", "older")[-1]
    ends = 0
    for number in range(100):
        files = model_files(tmp_path, f"new {number}")
        version = content_id_of(files)
        interrupted = ModelStore(Interrupted(store.store, "", number, after))
        try:
            interrupted.promote(interrupted.add(files, "test"), store.uri_of(old), METRICS)
        except Killed:
            ends += 1
            seen = (open_version(store.store.uri) / "model.onnx").read_text()
            assert seen == (f"new {number}" if champion_of(store) == version else (content(number - 1)))
            for known in store.versions():
                store.verify(known)
            store.promote(store.add(files, "test"), store.uri_of(old), METRICS)
        assert champion_of(store) == version
        old = version
        if ends == number:
            break
    assert ends == 4  # two objects, the manifest, the record


def content(number: int) -> str:
    return f"new {number}" if number >= 0 else "older"


def content_id_of(files: dict[str, Path]) -> str:
    from kfp_textclf.components.common.artifacts import sha256_of

    return content_id({name: {"sha256": sha256_of(path)} for name, path in files.items()})


@pytest.mark.parametrize("uri", ["file"], indirect=True)  # minutes on S3, by the same code
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_prune_that_is_killed_anywhere_is_finished_by_the_next(store: ModelStore, champions, after: bool) -> None:
    ends = 0
    while ends < 20:
        versions = champions(*(f"{ends} {number}" for number in range(3)))
        try:
            ModelStore(Interrupted(store.store, "", ends, after)).prune(1)
        except Killed:
            ends += 1
            for known in store.versions():
                store.verify(known)
            store.prune(1)
        else:
            break
        assert store.versions() == sorted(versions[1:])
        assert {key.split("/")[1] for key in store.store.keys("versions/")} == set(versions[1:])
    assert ends >= 5


@pytest.mark.parametrize("same", [False, True], ids=["different", "same"])
def test_of_publishers_at_once_exactly_one_wins(store: ModelStore, champions, tmp_path: Path, same: bool) -> None:
    """Separate processes, compared with the same champion."""
    old = champions("old")[0]
    code = (
        "import sys; from pathlib import Path\n"
        "from kfp_textclf.components.common.model_store import ModelStore\n"
        "store = ModelStore.open(sys.argv[1]); file = Path(sys.argv[2]); print('ready', flush=True); input()\n"
        "version = store.add({'model.onnx': file}, 'test')\n"
        "store.promote(version, store.uri_of(sys.argv[3]), {}); print(version)\n"
    )
    running = []
    for number in range(4):
        file = tmp_path / f"{number}.onnx"
        file.write_text("same" if same else str(number))
        command = [sys.executable, "-c", code, store.store.uri, str(file), old]
        pipe = subprocess.PIPE
        running.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
    for process in running:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    done = [process.communicate() for process in running]
    winners = [out.strip() for out, _ in done if out.strip()]
    losers = [err for out, err in done if not out.strip()]
    assert len(winners) == (4 if same else 1), done
    assert all("the champion is now" in err and "run the pipeline again" in err for err in losers), losers
    record = store.champion() or {}
    assert (record["version"], [entry["version"] for entry in record["history"]]) == (winners[0], [old])
    for version in store.versions():
        store.verify(version)
    assert len(store.versions()) == (2 if same else 5)


@pytest.mark.parametrize("uri", ["", "store", "/store", "file://host/models", "file:store", "s3:bucket", "s3://a"])
def test_store_of_another_form_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"publish_to=.* is not of the form (file:///absolute/path|s3://bucket/prefix)"):
        ModelStore.open(uri)


def test_escaped_characters_of_a_uri_are_the_path(tmp_path: Path) -> None:
    assert local_path((tmp_path / "a b#ü").as_uri(), "x") == tmp_path / "a b#ü"


def test_store_that_was_moved_is_read_where_it_is(tmp_path: Path) -> None:
    before = ModelStore(LocalStore(tmp_path / "before"))
    version = before.add(model_files(tmp_path, "weights"), "test")
    before.promote(version, "", METRICS)
    (tmp_path / "before").rename(tmp_path / "after")
    assert open_version((tmp_path / "after").as_uri()) == tmp_path / "after" / "versions" / version
