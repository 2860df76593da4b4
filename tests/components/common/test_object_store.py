"""One contract, two kinds of store."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import (
    ABSENT,
    Conflict,
    LocalStore,
    NotFound,
    ObjectStore,
    open_store,
)
from kfp_textclf.components.common.objects import checked_key


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    if request.param == "file":
        return open_store((tmp_path / "a store").as_uri())
    return open_store(request.getfixturevalue("s3_uri"))


def test_absent_object(store: ObjectStore, tmp_path: Path) -> None:
    assert store.read("a") is None
    assert store.size("a") is None
    assert list(store.keys()) == []
    store.delete("a")
    with pytest.raises(NotFound, match=r"/a: does not exist"):
        store.download("a", tmp_path / "x")


def test_written_object_is_read(store: ObjectStore) -> None:
    tag = store.write("a/ü b.json", b"{}")
    assert store.read("a/ü b.json") == (b"{}", tag)


def test_files_go_up_and_down_whole(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)) * 4096)
    store.upload(tmp_path / "in", "big")
    assert store.size("big") == 256 * 4096
    store.download("big", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_keys_are_listed_by_prefix_and_deleted(store: ObjectStore) -> None:
    for key in ("b/2", "a/1", "ab"):
        store.write(key, b"x")
    assert list(store.keys()) == ["a/1", "ab", "b/2"]
    assert list(store.keys("a/")) == ["a/1"]
    store.delete("a/1")
    assert list(store.keys()) == ["ab", "b/2"]


def test_conditional_writes(store: ObjectStore) -> None:
    first = store.write("champion", b"1", expected=ABSENT)
    with pytest.raises(Conflict):
        store.write("champion", b"2", expected=ABSENT)
    second = store.write("champion", b"2", expected=first)
    with pytest.raises(Conflict, match="changed by somebody else"):
        store.write("champion", b"3", expected=first)
    assert store.read("champion") == (b"2", second)


def test_a_repeated_conditional_write_succeeds(store: ObjectStore) -> None:
    """The first one's answer may have been lost."""
    first = store.write("champion", b"1", expected=ABSENT)
    assert store.write("champion", b"1", expected=ABSENT) == first


def test_one_of_many_writers_wins(store: ObjectStore) -> None:
    start = store.write("champion", b"0", expected=ABSENT)
    outcomes: list[bytes | None] = []

    def promote(content: bytes) -> None:
        try:
            store.write("champion", content, expected=start)
            outcomes.append(content)
        except Conflict:
            outcomes.append(None)

    threads = [threading.Thread(target=promote, args=(f"{n}".encode(),)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [content for content in outcomes if content]
    stored = store.read("champion")
    assert len(outcomes) == 8
    assert stored
    assert [stored.content] == winners


@given(st.text(alphabet="ab./\\\0 ", max_size=12))
def test_no_key_leaves_the_store(key: str) -> None:
    try:
        path = (Path("/store") / checked_key(key)).resolve()
    except UserError:
        return
    assert path.is_relative_to("/store")
    assert path != Path("/store")


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a\\b", "a/"])
def test_hostile_keys_are_refused(store: ObjectStore, tmp_path: Path, key: str) -> None:
    for use in (
        store.read,
        store.delete,
        store.uri_of,
        lambda k: store.write(k, b""),
        lambda k: store.download(k, tmp_path),
    ):
        with pytest.raises(UserError, match="not a plain relative path"):
            use(key)


def test_link_out_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "key").symlink_to(tmp_path / "secret")
    with pytest.raises(UserError, match="leaves the store"):
        LocalStore(tmp_path / "store").read("key")


@pytest.mark.parametrize(
    "uri", ["", "store", "/x", "s3://", "s3://B/x", "s3://ab", "s3://abc/../x", "gs://abc/x", "file://host/x"]
)
def test_malformed_uri_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match="publish_to="):
        open_store(uri, "publish_to")


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        ("s3://a/b", r"a bucket's name is 3 to 63 of a-z, 0-9, dot and hyphen, which 'a' is not"),
        ("s3://My_Bucket/b", r"a bucket's name is .*, which 'My_Bucket' is not"),
        ("s3://abc/../x", r"'\.\./x' is not a plain relative path"),
        ("file:///tmp/x%00", r"holds a NUL byte, which no path can; correct it"),
        ("file://[x/y", r"is not of the form file:///absolute/path"),
    ],
)
def test_malformed_part_of_a_uri_is_named(uri: str, cause: str) -> None:
    with pytest.raises(UserError, match=rf"publish_to=.*: {cause}$"):
        open_store(uri, "publish_to")


def test_unwritable_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="check the rights"):
        LocalStore(tmp_path / "file").write("a", b"")


@pytest.mark.s3
@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch.*correct AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "InvalidAccessKeyId.*correct AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "AccessDenied.*give these credentials the right"),
        ({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}, "Could not connect"),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "Invalid endpoint"),
        ({"AWS_PROFILE": "nobody"}, "profile .nobody. could not be found"),
        ({"KFP_TEXTCLF_S3_ADDRESSING": "up"}, "is not one of auto, path, virtual"),
        ({"KFP_TEXTCLF_S3_TIMEOUT": "0"}, "is not a number of seconds"),
    ],
)
def test_refusals_are_one_clear_line(s3_uri: str, monkeypatch, environment: dict[str, str], message: str) -> None:
    for name, value in environment.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
    with pytest.raises(UserError, match=message):
        open_store(s3_uri).read("a")


@pytest.mark.s3
def test_missing_bucket_is_named(s3_uri: str) -> None:
    with pytest.raises(UserError, match=r"s3://no-such-bucket/a: NoSuchBucket.*create the bucket"):
        open_store("s3://no-such-bucket").read("a")
