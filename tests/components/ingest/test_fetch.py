"""Fetching exactly the pinned bytes, from files and from a real HTTP server."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from stage_inputs import remains

from kfp_textclf.components.common import reading
from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.ingest.stage import ingest

TRAIN = b"flight, to boston\nfare, how much\n"


def md5_of(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    """A file server that logs nothing."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.0)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with DVC's content-addressed layout that holds TRAIN."""
    key = tmp_path / "store" / "files" / "md5" / md5_of(TRAIN)[:2] / md5_of(TRAIN)[2:]
    key.parent.mkdir(parents=True)
    key.write_bytes(TRAIN)
    return tmp_path / "store"


@pytest.fixture
def http_store(store: Path) -> Iterator[str]:
    """The same store behind a real HTTP server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(store))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def pin(store: str, content: bytes = TRAIN, **changes: object) -> dict[str, Any]:
    entry = {"path": "train.csv", "md5": md5_of(content), "size": len(content), **changes}
    return {"store": store, "git_rev": "abc", "files": [entry]}


def assert_refused(pinned: dict[str, object], output: Path, message: str) -> None:
    """Assert that the pin is refused and that nothing is left where it would have gone."""
    with pytest.raises(UserError, match=message):
        ingest(pinned, str(output))
    assert not output.exists()
    assert remains(output.parent) == []


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "raw"


@pytest.mark.parametrize("scheme", ["file", "http"])
def test_pinned_bytes_arrive_as_they_are(scheme: str, store: Path, http_store: str, output: Path) -> None:
    result = ingest(pin(store.as_uri() if scheme == "file" else http_store), str(output))
    assert (verified(output) / "train.csv").read_bytes() == TRAIN
    assert result.files == {"train.csv": {"md5": md5_of(TRAIN), "size": len(TRAIN), "lines": 2}}
    assert result.metadata()["size"] == len(TRAIN)
    assert result.git_rev == "abc"


def test_files_in_folders_and_empty_files_arrive(store: Path, output: Path) -> None:
    (store / "empty").touch()
    pinned = pin(store.as_uri(), path="deep/er/train.csv")
    pinned["files"] += [{"path": "empty.csv", "md5": md5_of(b""), "size": 0, "uri": (store / "empty").as_uri()}]
    ingest(pinned, str(output))
    assert set(read_json(output / "manifest.json")["files"]) == {"deep/er/train.csv", "empty.csv"}


def test_file_name_with_spaces_and_signs_is_found(tmp_path: Path, output: Path) -> None:
    file = tmp_path / "my data #1 ü%20.csv"
    file.write_bytes(TRAIN)
    assert ingest(pin("", uri=file.as_uri()), str(output)).size == len(TRAIN)


OTHER = TRAIN.replace(b"boston", b"denver")
CRLF = TRAIN.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OTHER, rf"holds other bytes \(md5 {md5_of(OTHER)}, {len(OTHER)} bytes\) than pinned \(md5 {md5_of(TRAIN)}"),
        (CRLF, rf"holds other bytes \(md5 {md5_of(CRLF)}, {len(CRLF)} bytes\) than pinned"),
        (TRAIN[:-1], rf"{len(TRAIN) - 1} bytes\) than pinned .*; restore the pinned version"),
        (b"", "holds other bytes"),
        (TRAIN + b"x" * 3_000_000, rf"holds other bytes \({len(TRAIN) + 3_000_000} bytes\) than pinned \(md5"),
    ],
    ids=["same size", "CRLF", "last byte missing", "empty", "much larger"],
)
@pytest.mark.parametrize("scheme", ["file", "http"])
def test_other_bytes_are_refused(
    scheme: str, content: bytes, message: str, store: Path, http_store: str, output: Path
) -> None:
    (store / "files" / "md5" / md5_of(TRAIN)[:2] / md5_of(TRAIN)[2:]).write_bytes(content)
    assert_refused(pin(store.as_uri() if scheme == "file" else http_store), output, message)


def test_wrong_size_in_the_pin_is_refused(store: Path, output: Path) -> None:
    uri = next(path for path in store.rglob("*") if path.is_file()).as_uri()
    assert_refused(pin("", uri=uri, size=len(TRAIN) + 1), output, "holds other bytes")


def test_object_that_is_not_there_is_refused(store: Path, http_store: str, output: Path) -> None:
    assert_refused(pin(http_store, b"absent"), output, r"train\.csv: http://.* answers 404 .*; check the store")
    assert_refused(pin(store.as_uri(), b"absent"), output, r"file://.* does not exist; fetch the data first")


def test_directory_in_place_of_a_file_is_refused(store: Path, output: Path) -> None:
    assert_refused(pin("", uri=store.as_uri()), output, r"cannot be read \(Is a directory\)")


def test_server_that_refuses_the_connection_is_named(output: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and never listening: connections are refused
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert_refused(pin(uri), output, r"cannot be read \(.*refused.*\); check the store and the network")


class CutShort(Quiet):
    """A server that announces more bytes than it sends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(TRAIN)))
        self.end_headers()
        self.wfile.write(TRAIN[:10])


class NoHttp(Quiet):
    """A server that speaks another protocol."""

    def do_GET(self) -> None:
        self.wfile.write(b"SSH-2.0-server\r\n")


@pytest.mark.parametrize(
    ("handler", "message"), [(CutShort, "holds other bytes|cannot be read"), (NoHttp, "cannot be read")]
)
def test_server_that_misbehaves_is_a_user_error(handler: type[Quiet], message: str, output: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert_refused(pin(f"http://127.0.0.1:{server.server_port}"), output, message)
        server.shutdown()


@pytest.mark.parametrize("uri", ["http://", "http://127.0.0.1:notaport/x", "http://[::1/x", "https:///x"])
def test_malformed_address_is_a_user_error(uri: str, output: Path) -> None:
    assert_refused(pin("", uri=uri), output, r"train\.csv: .*cannot be (read|fetched)")


def test_second_file_that_fails_leaves_none_of_the_first(store: Path, output: Path) -> None:
    pinned = pin(store.as_uri())
    pinned["files"] += [{"path": "test.csv", "md5": md5_of(b"absent"), "size": 6}]
    assert_refused(pinned, output, "does not exist")


def test_failed_fetch_keeps_the_earlier_data_set(store: Path, output: Path) -> None:
    ingest(pin(store.as_uri()), str(output))
    with pytest.raises(UserError, match="does not exist"):
        ingest(pin(store.as_uri(), b"absent"), str(output))
    assert (verified(output) / "train.csv").read_bytes() == TRAIN
