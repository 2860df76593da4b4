from pathlib import Path

import pytest
import yaml
from support import md5, run_git

from kfp_textclf.components.common.dataset_pin import DatasetPin
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Dataset
from kfp_textclf.pipelines.pins import pin_dataset


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
        return run_git(tmp_path, *arguments)

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
    [
        (None, "give the path of an existing file"),
        (f"outs: [{{md5: {'a' * 32}, size: 1, hash: md5, path: train.csv}}]", "fetch it with `make data`"),
    ],
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


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"outs": [{"path": "../train.csv"}]}, "pins '../train.csv' in '.', not the train.csv beside it"),
        ({"outs": [{"path": "/etc/passwd"}]}, "pins '/etc/passwd'"),
        ({"outs": [{"path": "train.csv"}], "wdir": "../.."}, "pins 'train.csv' in '../..'"),
        ({"outs": [{"path": "train.csv"}, {"path": "b"}]}, "pins 2 outputs; pin each file by itself"),
        ({"outs": [{"path": "train.csv", "md5": "../../etc/passwd", "size": 1}]}, "has no md5 and size"),
        ({"outs": [{"path": "train.csv", "md5": "0" * 32, "size": -1}]}, "has no md5 and size"),
        ({"outs": [{"path": "train.csv", "md5": "0" * 32, "size": True}]}, "has no md5 and size"),
        ({"outs": [{"path": "train.csv", "hash": "sha256", "md5": "0" * 32, "size": 1}]}, "has no md5 and size"),
        (["outs"], "has no md5 and size"),
    ],
)
def test_hostile_pin_is_refused_in_one_line(tmp_path: Path, document: object, message: str):
    (tmp_path / "train.csv").touch()
    (tmp_path / "train.csv.dvc").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError) as refused:
        pin_dataset(Dataset(train="train.csv"), tmp_path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
