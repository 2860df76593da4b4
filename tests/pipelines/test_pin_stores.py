"""Pins whose bytes come from a store: remotes, keys, directories, revisions. Nothing here runs DVC."""

import json
import os
from pathlib import Path

import pytest
import yaml
from support import md5, run_git

from kfp_textclf.components.common.dataset_pin import DatasetPin
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Dataset
from kfp_textclf.pipelines.pins import pin_dataset


def dvc_pin(path: Path, content: bytes, **more: object) -> None:
    """Write the ``.dvc`` file of a file that need not be there."""
    out = {"md5": md5(content), "size": len(content), "hash": "md5", "path": path.name}
    document = {"outs": [{**out, **more}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.dvc").write_text(yaml.safe_dump(document), encoding="utf-8")


def put(store: Path, content: bytes, suffix: str = "", layout: str = "files/md5") -> None:
    key = store / layout / md5(content)[:2] / (md5(content)[2:] + suffix)
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_bytes(content)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A DVC repository by its configuration alone: nothing here runs DVC."""
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    return root


def configure(root: Path, text: str, local: str = "") -> None:
    (root / ".dvc" / "config").write_text(text, encoding="utf-8")
    (root / ".dvc" / "config.local").write_text(local, encoding="utf-8")


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
        ("https://example.org/store", "https://example.org/store"),
        ("../../beside", "{parent}/beside"),
        ("/somewhere/else", "file:///somewhere/else"),
        ("~/store", "{home}/store"),
        ("remote://base/below", "s3://bucket/base/below"),
    ],
)
def test_a_remote_is_the_store_and_files_need_not_be_here(repository: Path, url: str, uri: str):
    configure(repository, f"""['remote "base"']\n    url = s3://bucket/base\n['remote "mine"']\n    url = {url}\n""")
    dvc_pin(repository / "data" / "train.csv", b"a,b\n")
    pin, files = pin_dataset(Dataset(train="data/train.csv"), repository, "mine")
    expected = uri.format(parent=repository.parent.as_uri(), home=Path.home().as_uri())
    assert pin["store"] == expected
    assert pin["files"] == [{"path": "train.csv", "md5": md5(b"a,b\n"), "size": 4}]
    assert files == {"train_file": "train.csv", "test_file": ""}


def test_local_settings_win_and_reach_the_environment_but_never_the_pin(
    repository: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")  # so that what is set here ends with the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    section = """['remote "org"']\n"""
    configure(
        repository,
        section + "    url = s3://CHANGE-ME/x\n    region = us-east-1\n",
        section + "    url = s3://bucket/x\n    endpointurl = http://127.0.0.1:9\n"
        "    access_key_id = id\n    secret_access_key = secret\n",
    )
    dvc_pin(repository / "train.csv", b"a,b\n")
    pin, _ = pin_dataset(Dataset(train="train.csv"), repository, "org")
    assert pin == {
        "store": "s3://bucket/x",
        "git_rev": "",
        "files": [{"path": "train.csv", "md5": md5(b"a,b\n"), "size": 4}],
    }
    assert os.environ["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9"
    assert os.environ["AWS_REGION"] == "eu-north-1"
    assert (os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]) == ("id", "secret")


@pytest.mark.parametrize(
    ("config", "store", "message"),
    [
        ("""['remote "org"']\nurl = s3://CHANGE-ME/x\n""", "org", "its url is a template; put yours there"),
        ("""['remote "org"']\nverify = true\n""", "org", "its url is a template"),
        ("""['remote "org"']\nurl = ssh://host/x\n""", "org", "ssh:// cannot be read"),
        ("""['remote "org"']\nurl = s3://b1b/x\nversion_aware = true\n""", "org", "cloud-versioned"),
        ("""['remote "a"']\nurl = remote://a/x\n""", "a", "relative to the remote 'a'"),
        ("""['remote "org"']\nurl = s3://bucket/x\n""", "orgg", "nor a DVC remote (org)"),
        ("", "gs://bucket/x", "cannot be read; use file://"),
        ("no section", "org", "cannot be read"),
    ],
)
def test_unusable_store_is_refused(repository: Path, config: str, store: str, message: str):
    configure(repository, config)
    dvc_pin(repository / "train.csv", b"a,b\n")
    with pytest.raises(UserError) as refused:
        pin_dataset(Dataset(train="train.csv"), repository, store)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_of_dvc_2_have_keys_of_their_own(repository: Path, tmp_path: Path):
    (tmp_path / "store").mkdir()
    dvc_pin(repository / "new.csv", b"new\n")
    dvc_pin(repository / "old.csv", b"old\n")
    document = yaml.safe_load((repository / "old.csv.dvc").read_text(encoding="utf-8"))
    del document["outs"][0]["hash"]
    (repository / "old.csv.dvc").write_text(yaml.safe_dump(document), encoding="utf-8")
    put(tmp_path / "store", b"old\n", layout=".")
    put(tmp_path / "store", b"new\n")
    pin, _ = pin_dataset(Dataset(train="new.csv", test="old.csv"), repository, "../store")
    for file in DatasetPin.parse(pin).files:
        assert Path(file.uri.removeprefix("file://")).read_bytes() == f"{file.path[:3]}\n".encode()


def directory_pin(path: Path, store: Path, files: dict[str, bytes]) -> None:
    """Pin a directory as DVC does, with its objects in ``store``."""
    listing = json.dumps([{"md5": md5(content), "relpath": name} for name, content in files.items()]).encode()
    dvc_pin(path, listing, md5=md5(listing) + ".dir")
    put(store, listing, ".dir")
    for content in files.values():
        put(store, content)


@pytest.mark.parametrize("held", ["remote", "cache", "checkout"])
def test_a_file_of_a_pinned_directory_has_md5_of_its_own_and_a_size(repository: Path, tmp_path: Path, held: str):
    store = {"cache": repository / ".dvc" / "cache"}.get(held, tmp_path / "store")
    directory_pin(repository / "data" / "set", store, {"train.csv": b"a,b\n", "more/test.csv": b"cc,dd\n"})
    (tmp_path / "store").mkdir(exist_ok=True)
    configure(repository, f"""[core]\nremote = mine\n['remote "mine"']\nurl = {tmp_path / "store"}\n""")
    for name, content in (("train.csv", b"a,b\n"), ("more/test.csv", b"cc,dd\n")) if held == "checkout" else ():
        (repository / "data" / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / "data" / "set" / name).write_bytes(content)
    dataset = Dataset(train="data/set/train.csv", test="data/set/more/test.csv")
    pin, files = pin_dataset(dataset, repository, "" if held == "checkout" else "mine")
    assert files == {"train_file": "train.csv", "test_file": "more/test.csv"}
    assert [(f["path"], f["md5"], f["size"]) for f in pin["files"]] == [
        ("train.csv", md5(b"a,b\n"), 4),
        ("more/test.csv", md5(b"cc,dd\n"), 6),
    ]
    with pytest.raises(UserError, match=r"other\.csv: is not in the pinned set"):
        pin_dataset(Dataset(train="data/set/other.csv"), repository, "mine")


@pytest.mark.parametrize("relpath", ["../../etc/passwd", "/etc/passwd", "", "a/../b"])
def test_a_listing_that_leaves_its_directory_is_refused(repository: Path, tmp_path: Path, relpath: str):
    directory_pin(repository / "set", tmp_path / "store", {"train.csv": b"a\n", relpath or " ": b"b\n"})
    if not relpath:
        directory_pin(repository / "set", tmp_path / "store", {"train.csv": b"a\n", "": b"b\n"})
    with pytest.raises(UserError, match=r"set\.dvc: the listing .* is malformed .*relative path"):
        pin_dataset(Dataset(train="set/train.csv"), repository, str(tmp_path / "store"))


def test_a_damaged_listing_is_refused_with_both_md5s(repository: Path, tmp_path: Path):
    directory_pin(repository / "set", tmp_path / "store", {"train.csv": b"a\n"})
    listing = next((tmp_path / "store").rglob("*.dir"))
    pinned = yaml.safe_load((repository / "set.dvc").read_text(encoding="utf-8"))["outs"][0]["md5"]
    listing.write_bytes(b"[]")
    with pytest.raises(UserError, match=rf"md5 {pinned}.* holds other bytes \(md5 {md5(b'[]')}"):
        pin_dataset(Dataset(train="set/train.csv"), repository, str(tmp_path / "store"))


def test_outputs_of_stages_are_pinned_by_the_lock(repository: Path):
    out = {"path": "train.csv", "hash": "md5", "md5": md5(b"x\n"), "size": 2}
    (repository / "dvc.lock").write_text(yaml.safe_dump({"stages": {"split@1": {"outs": [out]}}}), encoding="utf-8")
    (repository / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"split": {"wdir": "data/made"}}}), encoding="utf-8")
    pin, _ = pin_dataset(Dataset(train="data/made/train.csv"), repository, "https://example.org")
    assert pin["files"] == [{"path": "train.csv", "md5": md5(b"x\n"), "size": 2}]
    with pytest.raises(UserError, match=r"train\.csv: is not pinned by DVC"):
        pin_dataset(Dataset(train="data/train.csv"), repository, "https://example.org")


def test_a_file_without_pin_is_taken_from_a_store_that_has_it(repository: Path, tmp_path: Path):
    (repository / "train.csv").write_bytes(b"a,b\n")
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(UserError, match=r"is not pinned by DVC, and file://.*/store does not have it .*data add"):
        pin_dataset(Dataset(train="train.csv"), repository, str(store))
    put(store, b"a,b\n")
    pin, _ = pin_dataset(Dataset(train="train.csv"), repository, str(store))
    assert pin == {
        "store": store.as_uri(),
        "git_rev": "",
        "files": [{"path": "train.csv", "md5": md5(b"a,b\n"), "size": 4}],
    }


def test_an_import_is_in_no_store(repository: Path):
    dvc_pin(repository / "train.csv", b"a,b\n")
    document = yaml.safe_load((repository / "train.csv.dvc").read_text(encoding="utf-8"))
    document["deps"] = [{"path": "train.csv", "repo": {"url": "https://example.org/x.git", "rev_lock": "0" * 40}}]
    (repository / "train.csv.dvc").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"train\.csv\.dvc: is an import"):
        pin_dataset(Dataset(train="train.csv"), repository, "s3://bucket/x")
    (repository / "train.csv").write_bytes(b"a,b\n")
    assert pin_dataset(Dataset(train="train.csv"), repository)[0]["files"][0]["md5"] == md5(b"a,b\n")


def test_an_older_revision_is_pinned_as_it_was(repository: Path):
    run_git(repository, "init", "-q")
    dvc_pin(repository / "train.csv", b"one\n")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-qm", "one")
    first = run_git(repository, "rev-parse", "HEAD")
    dvc_pin(repository / "train.csv", b"other\n")
    run_git(repository, "commit", "-qam", "two")
    pin, _ = pin_dataset(Dataset(train="train.csv"), repository, "s3://bucket/x", "HEAD~1")
    assert pin == {
        "store": "s3://bucket/x",
        "git_rev": first,
        "files": [{"path": "train.csv", "md5": md5(b"one\n"), "size": 4}],
    }
    with pytest.raises(UserError, match=r"is not in DVC's cache; name a store"):
        pin_dataset(Dataset(train="train.csv"), repository, rev=first)
    put(repository / ".dvc" / "cache", b"one\n")
    pin, _ = pin_dataset(Dataset(train="train.csv"), repository, rev=first)
    assert Path(DatasetPin.parse(pin).files[0].uri.removeprefix("file://")).read_bytes() == b"one\n"
    for unknown in ("v9", "--output=x", "HEAD:train.csv.dvc"):
        with pytest.raises(UserError, match="is no revision"):
            pin_dataset(Dataset(train="train.csv"), repository, rev=unknown)
