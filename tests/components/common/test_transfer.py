"""Transfers from servers that misbehave as real ones do: right bytes, or one clear error."""

import gzip
import hashlib
import mmap
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from range_server import RangeServer, Request, range_server

from kfp_textclf.components.common import reading
from kfp_textclf.components.common import transfer as transfers
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import Conflict, NotFound
from kfp_textclf.components.common.transfer import SURPLUS, Expected, open_source, transfer

PART = 24 * mmap.ALLOCATIONGRANULARITY
CONTENT = random.Random(3).randbytes(700_001)
OTHER = random.Random(4).randbytes(700_001)


def expected(content: bytes = CONTENT) -> Expected:
    return Expected(len(content), hashlib.md5(content).hexdigest())


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts and chunks of sizes that make many of them out of little."""
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(reading, "PART", PART)
    monkeypatch.setattr(reading, "WINDOW", PART // 3)
    monkeypatch.setattr(reading, "CHUNK", 10_000)


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with range_server(RangeServer({"/x": CONTENT})) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def get(server: RangeServer, target: Path, wanted: Expected | None = None, path: str = "/x") -> bytes:
    """Transfer, check what is told about it, and return what lies there; on failure nothing may lie there."""
    try:
        received = transfer(open_source(server.uri + path), target, wanted)
    except Exception:
        assert list(target.parent.iterdir()) == []
        raise
    content = target.read_bytes()
    assert received.md5 == hashlib.md5(content).hexdigest()
    assert (received.size, received.lines) == (len(content), content.count(b"\n"))
    assert list(target.parent.iterdir()) == [target]
    return content


def asked(server: RangeServer) -> list[int]:
    return sorted(request.start for request in server.requests)


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 700_001])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("tags", [True, False])
def test_objects_of_all_sizes_arrive(server: RangeServer, target: Path, size: int, ranges: bool, tags: bool) -> None:
    server.objects["/x"], server.ranges, server.tags = CONTENT[:size], ranges, tags
    assert get(server, target, expected(CONTENT[:size])) == CONTENT[:size]


def test_parts_are_not_asked_for_long_before_they_can_be_hashed(server: RangeServer, target: Path) -> None:
    asked_meanwhile: list[int] = []

    def hold(request: Request) -> None:
        if request.start == PART:
            time.sleep(0.3)
            asked_meanwhile.extend(asked(server))

    server.before = hold
    get(server, target, expected())
    assert asked_meanwhile == [PART * number for number in range(reading.AHEAD + 1)]


def test_large_object_comes_in_parts_of_one_version(server: RangeServer, target: Path) -> None:
    get(server, target)
    assert asked(server) == list(range(0, 700_001, PART))
    assert {request.headers.get("If-Range") for request in server.requests[1:]} == {
        f'"{hashlib.md5(CONTENT).hexdigest()}"'
    }


def test_file_has_usual_rights_and_replaces_an_earlier_one(server: RangeServer, target: Path) -> None:
    target.write_text("old")
    get(server, target, expected())
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("reset", [False, True], ids=["cut", "reset"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
def test_broken_connections_are_resumed(server: RangeServer, target: Path, reset: bool, ranges: bool) -> None:
    server.reset, server.ranges = reset, ranges
    breaks = iter([50_000, 120_000, 300_001])  # of the whole body when there are no ranges, else of parts
    server.cut = lambda request: next(breaks, None)
    assert get(server, target, expected()) == CONTENT


def test_resumption_starts_where_it_stopped(server: RangeServer, target: Path) -> None:
    server.cut = lambda request: 37_000 if request.start % PART == 0 else None
    assert get(server, target) == CONTENT
    assert {start % PART for start in asked(server)} == {0, 37_000}


def test_connection_that_brings_a_little_each_time_gets_there(server: RangeServer, target: Path) -> None:
    server.cut = lambda request: 12_345
    assert get(server, target, expected()) == CONTENT


def test_connection_that_never_brings_anything_is_given_up(server: RangeServer, target: Path) -> None:
    server.cut = lambda request: 100 if request.start < 3 * PART else 0
    with pytest.raises(
        UserError, match=r"cannot be read \(.* at byte \d+ of 700001\); check the store and the network"
    ):
        get(server, target, expected())
    assert len(server.requests) < 100


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 408])
def test_busy_servers_are_asked_again(server: RangeServer, target: Path, status: int) -> None:
    server.status = lambda request: status if asked(server).count(request.start) < 3 else 200
    assert get(server, target, expected()) == CONTENT


@pytest.mark.parametrize(("status", "kind"), [(400, UserError), (401, UserError), (403, UserError), (410, NotFound)])
def test_refusals_are_not_asked_again(server: RangeServer, target: Path, status: int, kind: type[UserError]) -> None:
    server.status = lambda request: status
    with pytest.raises(kind, match=f"answers {status} "):
        get(server, target)
    assert len(server.requests) == 1


def test_server_that_stays_broken_is_given_up(server: RangeServer, target: Path) -> None:
    server.status = lambda request: 503
    with pytest.raises(UserError, match=r"cannot be read \(answers 503 Service Unavailable\)"):
        get(server, target)
    assert len(server.requests) == reading.ATTEMPTS


def test_server_may_say_when_to_come_again(server: RangeServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        reading.threading.Event, "wait", lambda self, seconds=None: waits.append(seconds or 0) or self.is_set()
    )
    server.headers = {"Retry-After": "7"}
    server.status = lambda request: 503 if request.number == 0 else 200
    get(server, target)
    assert 7.0 in waits


@pytest.mark.parametrize("tags", [True, False])
def test_object_replaced_meanwhile_is_fetched_as_a_whole(server: RangeServer, target: Path, tags: bool) -> None:
    server.tags = tags

    def replace(request: Request) -> None:
        if request.start == 3 * PART:
            server.objects["/x"] = OTHER

    server.before = replace
    assert get(server, target, expected(OTHER)) == OTHER


def test_object_replaced_again_and_again_is_a_conflict(server: RangeServer, target: Path) -> None:
    def replace(request: Request) -> None:
        if request.start == 3 * PART:
            server.objects["/x"] = random.Random(1000 + request.number).randbytes(700_001)

    server.before = replace
    with pytest.raises(Conflict, match="was changed by somebody else meanwhile"):
        get(server, target)


def test_object_that_shrinks_meanwhile_is_noticed(server: RangeServer, target: Path) -> None:
    server.tags = False

    def shrink(request: Request) -> None:
        if request.start >= 3 * PART:
            server.objects["/x"] = CONTENT[:250_000]

    server.before = shrink
    assert get(server, target) == CONTENT[:250_000]


def test_damaged_transfer_is_repeated_once(server: RangeServer, target: Path) -> None:
    server.before = lambda request: server.objects.update({"/x": OTHER if request.number < 8 else CONTENT})
    assert get(server, target, expected()) == CONTENT


def test_other_bytes_are_refused_with_pin_and_both_hashes(server: RangeServer, target: Path) -> None:
    with pytest.raises(UserError) as error:
        get(server, target, expected(OTHER))
    for named in (server.uri, hashlib.md5(CONTENT).hexdigest(), hashlib.md5(OTHER).hexdigest(), "700001 bytes"):
        assert named in str(error.value)


@given(position=st.integers(0, len(CONTENT) - 1), flip=st.integers(1, 255))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_byte_is_refused(server: RangeServer, target: Path, position: int, flip: int) -> None:
    changed = bytearray(CONTENT)
    changed[position] ^= flip
    server.objects["/y"] = bytes(changed)
    with pytest.raises(UserError, match=hashlib.md5(changed).hexdigest()):
        get(server, target, expected(), "/y")


@given(size=st.integers(0, 400_000), cuts=st.lists(st.integers(0, 150_000), max_size=5), ranges=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_schedule_of_breaks_ends_well(
    server: RangeServer, target: Path, size: int, cuts: list[int], ranges: bool
) -> None:
    server.objects["/x"], server.ranges, planned = CONTENT[:size], ranges, iter(cuts)
    server.cut = lambda request: next(planned, None)
    target.unlink(missing_ok=True)
    assert get(server, target, expected(CONTENT[:size])) == CONTENT[:size]


def test_little_too_much_is_named_and_much_too_much_is_not_read(server: RangeServer, target: Path) -> None:
    with pytest.raises(UserError, match=rf"md5 {hashlib.md5(CONTENT).hexdigest()}, 700001 bytes"):
        get(server, target, expected(CONTENT[:10]))
    server.objects["/x"] = bytes(SURPLUS + 11)
    server.requests.clear()
    with pytest.raises(UserError, match=rf"holds other bytes \({SURPLUS + 11} bytes\) than pinned \(md5 .*10 bytes"):
        get(server, target, expected(CONTENT[:10]))
    assert len(server.requests) == 1


def test_enormous_length_is_refused_before_it_is_read(server: RangeServer, target: Path) -> None:
    server.headers = {"Content-Length": str(1 << 50)}
    server.ranges = False
    with pytest.raises(UserError, match=rf"holds other bytes \({1 << 50} bytes\) than pinned"):
        get(server, target, expected())


def test_body_without_length_is_stopped(server: RangeServer, target: Path) -> None:
    """An endless stream."""
    server.ranges = False
    server.headers = {"Content-Length": "unknown", "Connection": "close"}
    server.objects["/x"] = bytes(3 * SURPLUS)
    server.cut = lambda request: 3 * SURPLUS - 1
    with pytest.raises(UserError, match=r"holds other bytes \(over \d+ bytes\) than pinned"):
        get(server, target, expected(CONTENT[:10]))


def test_packed_body_is_not_unpacked(server: RangeServer, target: Path) -> None:
    """Neither by chance, so that other bytes than the pinned ones arrive, nor as a bomb."""
    packed = gzip.compress(bytes(50_000_000))
    server.objects["/x"], server.headers = packed, {"Content-Encoding": "gzip"}
    assert get(server, target, expected(packed)) == packed
    assert {request.headers["Accept-Encoding"] for request in server.requests} == {"identity"}


def test_redirection_is_followed(server: RangeServer, target: Path) -> None:
    server.headers = {"Location": f"{server.uri}/x"}
    server.objects["/y"] = b""
    server.status = lambda request: 302 if request.path == "/y" else 200
    assert get(server, target, expected(), "/y") == CONTENT


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://host/x", "gopher://x", "/y"])
def test_redirection_to_other_schemes_or_in_circles_is_refused(
    server: RangeServer, target: Path, location: str
) -> None:
    server.headers, server.status = {"Location": location}, lambda request: 302
    server.objects["/y"] = b""
    with pytest.raises(UserError, match="cannot be read"):
        get(server, target, expected(), "/y")
    assert len(server.requests) <= 6


def test_progress_of_a_large_object(server: RangeServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "LARGE", 700_000)
    monkeypatch.setattr(transfers, "REPORT_SECONDS", 0.0)
    told: list[tuple[int, int]] = []
    transfer(open_source(f"{server.uri}/x"), target, expected(), lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (700_001, 700_001)
    assert len(told) >= 700_001 // reading.WINDOW


def test_place_that_cannot_be_written_is_named(server: RangeServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no/target: cannot be written \(No such file or directory\)"):
        transfer(open_source(f"{server.uri}/x"), tmp_path / "no" / "target")


def test_full_disk_is_named_and_leaves_nothing(
    server: RangeServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reading.os, "pwrite", full)
    with pytest.raises(UserError, match=r"target: cannot be written \(No space left on device\)"):
        get(server, target)
