"""The pin of a data set."""

import contextlib
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_textclf.components.common.dataset_pin import DatasetPin
from kfp_textclf.components.common.errors import UserError

MD5 = "9f19d740a9876212b24bc0dd89b508a1"


def entry(**changes: object) -> dict[str, object]:
    return {"path": "train.csv", "md5": MD5, "size": 3, **changes}


def pin(*entries: object, store: str = "https://store.example/dvc") -> dict[str, object]:
    return {"store": store, "git_rev": "abc", "files": list(entries)}


def test_file_without_a_uri_lies_under_its_key_in_the_store() -> None:
    parsed = DatasetPin.parse(pin(entry(), store="https://store.example/dvc/"))
    assert parsed.files[0].uri == "https://store.example/dvc/files/md5/9f/19d740a9876212b24bc0dd89b508a1"
    assert (parsed.store, parsed.git_rev) == ("https://store.example/dvc", "abc")


def test_uri_of_a_file_goes_before_the_store() -> None:
    assert DatasetPin.parse(pin(entry(uri="file:///x"))).files[0].uri == "file:///x"


def test_whole_float_is_a_size_because_kfp_makes_floats_of_integers() -> None:
    size = DatasetPin.parse(pin(entry(size=3.0))).files[0].size
    assert (size, type(size)) == (3, int)


@pytest.mark.parametrize("value", [None, [], {}, {"files": []}, {"files": {}}, {"files": "train.csv"}])
def test_pin_without_files_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="dataset_pin: has no files"):
        DatasetPin.parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["train.csv", None, 3, ["train.csv"]])
def test_entry_that_is_no_mapping_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="is not a file entry with path, md5 and size"):
        DatasetPin.parse(pin(value))


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "a\\..\\x",
        "a\0b",
        "//host/x",
        "C:x",
        "c:/x",
        "\ud800",
        "x" * 256,
    ],
)
def test_path_out_of_the_data_set_is_refused(path: str) -> None:
    with pytest.raises(UserError, match="is not a plain relative path; pin files below one directory"):
        DatasetPin.parse(pin(entry(path=path)))


@pytest.mark.parametrize("path", ["a/b.csv", "..a", "a..b", "ü ñ.csv"])
def test_path_below_the_data_set_is_taken(path: str) -> None:
    assert DatasetPin.parse(pin(entry(path=path))).files[0].path == path


def test_path_of_the_manifest_is_refused() -> None:
    """It would be overwritten by the artifact's own."""
    with pytest.raises(UserError, match=r"manifest\.json"):
        DatasetPin.parse(pin(entry(path="manifest.json")))


@pytest.mark.parametrize("path", ["manifest.json", "manifest.json/x"])
def test_paths_of_the_manifest_are_refused(path: str) -> None:
    with pytest.raises(UserError, match=r"manifest\.json"):
        DatasetPin.parse(pin(entry(path=path)))


@pytest.mark.parametrize("paths", [("a", "a/b"), ("a/b/c", "x", "a/b"), ("a/b/c/d", "a")])
def test_file_that_is_a_folder_too_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="is a file and a folder; rename one of them"):
        DatasetPin.parse(pin(*(entry(path=path) for path in paths)))


@given(st.text(alphabet=st.sampled_from("ab./\\\0:C ~\n\u00e9\ud800"), max_size=12))
def test_no_accepted_path_leaves_the_data_set(path: str) -> None:
    try:
        parsed = DatasetPin.parse(pin(entry(path=path))).files[0].path
    except UserError:
        return
    for kind in (PurePosixPath, PureWindowsPath):
        joined = kind("/data/set") / kind(parsed)
        assert ".." not in joined.parts
        assert joined.is_relative_to("/data/set")
        assert joined != kind("/data/set")
    assert parsed.encode()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["store", "files", "path", "md5", "size", "uri"]), inner, max_size=5)
        ),
    )
)
def test_no_value_breaks_the_parser(value: object) -> None:
    with contextlib.suppress(UserError):
        DatasetPin.parse(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uri",
    [
        "s3://bucket",
        "s3://bucket/",
        "s3://bucket/a/../b",
        "s3://B/x",
        "s3://bucket//x",
        "s3://bucket/a\\b",
        "s3://u:p@h/x",
    ],
)
def test_uri_that_names_no_object_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=r"dataset_pin: train\.csv"):
        DatasetPin.parse(pin(entry(uri=uri)))


def test_bucket_of_a_store() -> None:
    parsed = DatasetPin.parse(pin(entry(), store="s3://bucket/dvc/"))
    assert parsed.files[0].uri == f"s3://bucket/dvc/files/md5/{MD5[:2]}/{MD5[2:]}"


@pytest.mark.parametrize("again", ["train.csv", "./train.csv", "train.csv/."])
def test_path_named_twice_is_refused(again: str) -> None:
    with pytest.raises(UserError, match="dataset_pin: "):
        DatasetPin.parse(pin(entry(), entry(path=again)))


@pytest.mark.parametrize("md5", [None, "", MD5[:-1], MD5 + "0", MD5.upper(), "g" * 32, MD5 + "\n", MD5 + ".dir"])
def test_bad_md5_is_refused(md5: object) -> None:
    with pytest.raises(UserError, match=r"train\.csv: md5 .* is not 32 hexadecimal digits; copy it from the \.dvc"):
        DatasetPin.parse(pin(entry(md5=md5)))


@pytest.mark.parametrize("size", [None, -1, 1.5, "3", True, float("nan"), float("inf")])
def test_bad_size_is_refused(size: object) -> None:
    with pytest.raises(UserError, match=r"train\.csv: size .* is not a number of bytes; copy it from the \.dvc file"):
        DatasetPin.parse(pin(entry(size=size)))


@pytest.mark.parametrize("uri", ["gs://bucket/key", "ftp://host/x", "/local/path", "data:,x", "FILE:///x"])
def test_scheme_that_cannot_be_fetched_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="cannot be fetched; use file://, http://, https://, s3://"):
        DatasetPin.parse(pin(entry(uri=uri)))


def test_file_without_uri_and_store_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.csv: .*cannot be fetched"):
        DatasetPin.parse(pin(entry(), store=""))
