import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.ingest.pin import DatasetPin
from kfp_textclf.pipelines.params import Dataset
from kfp_textclf.pipelines.pins import pin_dataset


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_a_plain_file_is_pinned_as_it_is(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.csv").write_bytes(b"a,b\n")
    pin, files = pin_dataset(Dataset(train="d/train.csv"), tmp_path)
    assert files == {"train_file": "train.csv", "test_file": ""}
    uri = (tmp_path / "d" / "train.csv").as_uri()
    assert pin["files"] == [{"path": "train.csv", "md5": md5(b"a,b\n"), "size": 4, "uri": uri}]
    assert DatasetPin.parse(pin).files[0].uri == uri


def test_a_dvc_file_decides_what_the_bytes_must_be(tmp_path: Path):
    (tmp_path / "train.csv").write_bytes(b"changed\n")
    outs = [{"md5": md5(b"pinned\n"), "size": 7, "hash": "md5", "path": "train.csv"}]
    (tmp_path / "train.csv.dvc").write_text(yaml.safe_dump({"outs": outs}), encoding="utf-8")
    pin, _ = pin_dataset(Dataset(train="train.csv"), tmp_path)
    assert (pin["files"][0]["md5"], pin["files"][0]["size"]) == (md5(b"pinned\n"), 7)


def test_files_of_two_directories_keep_apart(tmp_path: Path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.csv").write_bytes(folder.encode())
    pin, files = pin_dataset(Dataset(train="a/rows.csv", test="b/rows.csv"), tmp_path)
    assert files == {"train_file": "a/rows.csv", "test_file": "b/rows.csv"}
    assert [entry["path"] for entry in pin["files"]] == ["a/rows.csv", "b/rows.csv"]


def test_revision_is_the_last_commit_of_the_pin_not_of_the_checkout(tmp_path: Path):
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "train.csv").write_bytes(b"a,b\n")
    git("add", ".")
    git("commit", "-qm", "data")
    revision = git("rev-parse", "HEAD")
    (tmp_path / "code.py").touch()
    git("add", ".")
    git("commit", "-qm", "code")
    assert pin_dataset(Dataset(train="train.csv"), tmp_path)[0]["git_rev"] == revision != git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("dvc_file", "message"),
    [(None, "give the path of an existing file"), ("outs: []", "fetch it with `make data`")],
    ids=["nothing", "pin alone"],
)
def test_missing_file_says_how_to_get_it(tmp_path: Path, dvc_file: str | None, message: str):
    if dvc_file:
        (tmp_path / "train.csv.dvc").write_text(dvc_file, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        pin_dataset(Dataset(train="train.csv"), tmp_path)


@pytest.mark.parametrize("content", ["", "outs: []", "outs: [{path: train.csv}]", "outs: [", "outs: 3"])
def test_malformed_pin_is_refused(tmp_path: Path, content: str):
    (tmp_path / "train.csv").touch()
    (tmp_path / "train.csv.dvc").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"train\.csv\.dvc: has no md5 and size"):
        pin_dataset(Dataset(train="train.csv"), tmp_path)
