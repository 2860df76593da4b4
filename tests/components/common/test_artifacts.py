"""Artifacts on disk: whole or not there, and verified before they are read."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from stage_inputs import remains
from support import artifact

from kfp_textclf.components.common.artifacts import (
    MANIFEST,
    atomic_directory,
    read_json,
    sha256_of,
    verified,
    write_json,
)
from kfp_textclf.components.common.errors import UserError


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\0\1" * 100_000)
    assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_manifest_names_every_file_with_hash_and_size(tmp_path: Path) -> None:
    directory = artifact(tmp_path / "a", {"one.txt": "1", "deep/two.bin": b"\0\0"})
    manifest = read_json(directory / MANIFEST)
    assert manifest["schema_version"] == 1
    assert manifest["producer"] == "test"
    assert set(manifest["files"]) == {"one.txt", "deep/two.bin"}
    assert manifest["files"]["deep/two.bin"] == {"sha256": hashlib.sha256(b"\0\0").hexdigest(), "size": 2}


@pytest.mark.parametrize("names", [["md5"], ["sha256"], ["md5", "sha256"]], ids="+".join)
@pytest.mark.parametrize("damaged", [b"1235", b"12345", b""])
def test_every_hash_that_a_manifest_gives_is_verified(tmp_path: Path, names: list[str], damaged: bytes) -> None:
    known: dict[str, dict[str, str]] = {"file": {name: hashlib.new(name, b"1234").hexdigest() for name in names}}
    with atomic_directory(tmp_path / "a", "test", known) as target:
        (target / "file").write_bytes(b"1234")
    assert verified(tmp_path / "a") == tmp_path / "a"
    (tmp_path / "a" / "file").write_bytes(damaged)
    with pytest.raises(UserError, match=r"a/file: differs from its manifest") as error:
        verified(tmp_path / "a")
    for content in (b"1234", damaged):
        described = ", ".join(f"{name} {hashlib.new(name, content).hexdigest()}" for name in names)
        assert f"{described}, size {len(content)}" in str(error.value)


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_one_false_hash_of_two_is_enough_to_refuse(tmp_path: Path, name: str) -> None:
    known = {"file": {each: hashlib.new(each, b"1234").hexdigest() for each in ("md5", "sha256")}}
    known["file"][name] = known["file"][name][::-1]
    with atomic_directory(tmp_path / "a", "test", known) as target:
        (target / "file").write_bytes(b"1234")
    with pytest.raises(UserError, match="differs from its manifest"):
        verified(tmp_path / "a")


@pytest.mark.parametrize("entry", [{"size": 4}, {"size": 4, "crc32": "0"}, {"md5": "0" * 32}, {}, None, "x"], ids=repr)
def test_manifest_that_pins_nothing_is_refused(tmp_path: Path, entry: object) -> None:
    directory = artifact(tmp_path / "a", {"file": "1234"})
    write_json(directory / MANIFEST, {**read_json(directory / MANIFEST), "files": {"file": entry}})
    with pytest.raises(UserError, match="does not name its files; make the artifact again"):
        verified(directory)


@pytest.mark.parametrize("value", [None, "", 1, []])
def test_hash_that_is_none_matches_nothing(tmp_path: Path, value: object) -> None:
    directory = artifact(tmp_path / "a", {"file": "1234"})
    write_json(directory / MANIFEST, {**read_json(directory / MANIFEST), "files": {"file": {"md5": value, "size": 4}}})
    with pytest.raises(UserError, match="differs from its manifest"):
        verified(directory)


def test_directory_is_seen_under_its_name_only_when_whole(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "a", "test") as target:
        (target / "file").write_text("x")
        assert not (tmp_path / "a").exists()
        assert target.parent == tmp_path, "another file system could not rename atomically"
    assert remains(tmp_path) == ["a", "a/file", "a/manifest.json"]


def test_block_that_raises_leaves_the_earlier_artifact_and_nothing_else(tmp_path: Path) -> None:
    directory = artifact(tmp_path / "a", {"file": "old"})

    def interrupted() -> None:
        with atomic_directory(directory, "test") as target:
            (target / "file").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (verified(directory) / "file").read_text() == "old"
    assert remains(tmp_path) == ["a", "a/file", "a/manifest.json"]


def test_new_artifact_replaces_the_earlier_one_whole(tmp_path: Path) -> None:
    artifact(tmp_path / "a", {"old": "1", "both": "1"})
    artifact(tmp_path / "a", {"both": "2"})
    assert remains(tmp_path / "a") == ["both", "manifest.json"]
    assert (verified(tmp_path / "a") / "both").read_text() == "2"


def test_place_below_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a: cannot be written .*writable output directory"):
        artifact(tmp_path / "file" / "a", {"x": "1"})


def _lengthen(directory: Path) -> None:
    (directory / "file").write_text("12345")


def _change_a_byte(directory: Path) -> None:
    (directory / "file").write_text("1235")


def _delete_file(directory: Path) -> None:
    (directory / "file").unlink()


def _delete_manifest(directory: Path) -> None:
    (directory / MANIFEST).unlink()


def _other_schema(directory: Path) -> None:
    write_json(directory / MANIFEST, {**read_json(directory / MANIFEST), "schema_version": 2})


def _cut_manifest(directory: Path) -> None:
    (directory / MANIFEST).write_text('{"files": ')


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_lengthen, r"file: differs from its manifest; delete .* and run again"),
        (_change_a_byte, r"file: differs from its manifest; delete .* and run again"),
        (_delete_file, r"file: is missing from the artifact; delete .* and run again"),
        (_delete_manifest, r"manifest\.json: cannot be read"),
        (_other_schema, r"manifest\.json: is not a version 1 manifest; make the artifact again"),
        (_cut_manifest, r"manifest\.json: is not valid JSON"),
    ],
)
def test_damaged_artifact_is_refused(tmp_path: Path, damage, message: str) -> None:
    directory = artifact(tmp_path / "a", {"file": "1234"})
    assert verified(directory) == directory
    damage(directory)
    with pytest.raises(UserError, match=message):
        verified(directory)


def test_missing_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: there is no artifact here; run the step that makes it"):
        verified(tmp_path / "nothing")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_json_refuses_what_is_no_number(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"metric": [value]})
    assert remains(tmp_path) == []


def test_json_is_sorted_and_keeps_unicode(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": 1, "a": "Zürich"})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == json.dumps(
        {"a": "Zürich", "b": 1}, indent=2, ensure_ascii=False
    ) + ("\n")


def test_error_message_is_one_line() -> None:
    assert str(UserError("a\n  b\tc\n")) == "a b c"
