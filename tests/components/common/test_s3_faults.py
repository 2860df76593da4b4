"""The S3 store behind a network that breaks, lies and repeats itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import ERRORS, FAULTS, FaultProxy, Rule, Schedule

from kfp_textclf.components.common import reading, s3
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import ABSENT, Conflict, ObjectStore, open_store

pytestmark = pytest.mark.s3
CONTENT = b'{"champion": "0123456789abcdef"}'


@pytest.fixture
def proxy(s3_server, s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """A proxy that clients go through from now on, and clients that wait less than it can."""
    monkeypatch.setattr(s3, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.01)
    with FaultProxy(s3_server.endpoint, silence=3.0).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
        monkeypatch.setenv("KFP_TEXTCLF_S3_TIMEOUT", "2")
        yield proxy


@pytest.fixture
def store(proxy: FaultProxy, s3_uri: str) -> ObjectStore:
    """A store with the objects ``a`` and ``b``."""
    store = open_store(s3_uri)
    store.write("a", CONTENT)
    store.write("b", b'{"champion": "fedcba9876543210"}')
    store.read("b")  # so that the proxy has another object's body
    return store


@pytest.fixture(params=["checksums", "no checksums"])
def checksums(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the checksums of S3, and without as for stores that know none."""
    for name in ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION"):
        monkeypatch.setenv(name, "when_supported" if request.param == "checksums" else "when_required")


OPERATIONS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "read": lambda store, _: store.read("a"),
    "write": lambda store, _: store.write("c", b"1"),
    "upload": lambda store, file: store.upload(file, "c"),
    "download": lambda store, file: store.download("a", file),
    "size": lambda store, _: store.size("a"),
    "keys": lambda store, _: list(store.keys()),
    "delete": lambda store, _: store.delete("b"),
}


@pytest.mark.parametrize("fault", ["reset_answer", "duplicate", "silence", "reset", "internal_error"])
@pytest.mark.parametrize("expected", ["absent", "tag"])
def test_conditional_write_whose_answer_is_lost_succeeds_once(
    store: ObjectStore, proxy: FaultProxy, fault: str, expected: str
) -> None:
    tag = store.write("champion", b"1", expected=ABSENT) if expected == "tag" else ABSENT
    proxy.schedule = Schedule([Rule(fault, "champion", times=1)])
    new = store.write("champion", b"2", expected=tag)
    assert proxy.schedule.hits[fault] == 1
    assert store.read("champion") == (b"2", new)
    with pytest.raises(Conflict):
        store.write("champion", b"3", expected=tag)


@pytest.mark.parametrize("fault", ["reset_body", "truncated", "reset", "flipped_bit", "other_body", "slow_down"])
def test_what_breaks_off_or_arrives_damaged_is_read_again(
    store: ObjectStore, proxy: FaultProxy, checksums, fault: str
) -> None:
    proxy.schedule = Schedule([Rule(fault, "/a", times=1)])
    stored = store.read("a")
    assert stored is not None
    assert (stored.content, proxy.schedule.hits[fault]) == (CONTENT, 1)


@pytest.mark.parametrize("fault", ["flipped_bit", "other_body"])
def test_what_always_arrives_damaged_is_refused(store: ObjectStore, proxy: FaultProxy, checksums, fault: str) -> None:
    proxy.schedule = Schedule([Rule(fault, "/a")])
    with pytest.raises(UserError, match=r"s3://.*/a: (is not what was written there|Expected checksum)"):
        store.read("a")


def test_object_that_others_wrote_is_read(store: ObjectStore, s3_uri: str, tmp_path: Path) -> None:
    """Only what `write` wrote has a digest to compare with."""
    (tmp_path / "file").write_bytes(b"by other tools")
    store.upload(tmp_path / "file", "a")
    stored = store.read("a")
    assert stored is not None
    assert stored.content == b"by other tools"


@pytest.mark.parametrize("size", [1000, 70 << 20])
def test_damaged_upload_is_refused(store: ObjectStore, proxy: FaultProxy, checksums, tmp_path: Path, size) -> None:
    (tmp_path / "file").write_bytes(b"\x00" * size)
    proxy.schedule = Schedule([Rule("flipped_upload", "/c.*partNumber=2" if size > 1000 else "/c")])
    with pytest.raises(UserError, match=r"/c: BadDigest: .*run it again"):
        store.upload(tmp_path / "file", "c")
    assert list(store.keys()) == ["a", "b"]


def test_damaged_write_is_refused(store: ObjectStore, proxy: FaultProxy, checksums) -> None:
    proxy.schedule = Schedule([Rule("flipped_upload")])
    with pytest.raises(UserError, match=r"/a: BadDigest: .*run it again"):
        store.write("a", b"2")
    proxy.schedule = Schedule()
    assert (store.read("a") or (b"",))[0] == CONTENT


def test_page_of_somebody_else_is_no_success(store: ObjectStore, proxy: FaultProxy, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    proxy.schedule = Schedule([Rule("foreign")])
    for operation in ("read", "write", "upload", "download", "keys"):
        with pytest.raises(UserError, match="does not answer as an S3 store does; check AWS_ENDPOINT_URL_S3"):
            OPERATIONS[operation](store, tmp_path / "file")


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in ("delay", "kill", "kill_after")])
def test_fault_that_stays_ends_in_one_line_or_in_the_truth(
    store: ObjectStore, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("KFP_TEXTCLF_S3_TIMEOUT", "0.3")
    proxy.silence = 0.5
    for operation, act in OPERATIONS.items():
        (tmp_path / "file").write_bytes(b"before")
        proxy.schedule = Schedule([Rule(fault)])
        message = refusal(lambda act=act: act(store, tmp_path / "file"))
        assert "\n" not in message
        assert message == "" or ("://" in message and "; " in message)
        if operation == "download" and message:
            assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.parametrize("fault", ["clock_skew", "expired_token", "expired_token_403"])
def test_refusal_says_what_to_do(store: ObjectStore, proxy: FaultProxy, tmp_path: Path, fault: str) -> None:
    (tmp_path / "file").write_bytes(b"content")
    proxy.schedule = Schedule([Rule(fault)])
    fix = "set the clock of this machine" if fault == "clock_skew" else "renew the credentials"
    for operation in ("read", "write", "upload", "download", "keys", "delete"):
        with pytest.raises(UserError, match=rf"{ERRORS[fault][1]}: .*; {fix}"):
            OPERATIONS[operation](store, tmp_path / "file")


def refusal(act: Callable[[], object]) -> str:
    """Return the line that something ends in; empty when it works."""
    try:
        act()
    except UserError as error:
        return str(error)
    return ""


def test_stale_reads_lose_no_update(store: ObjectStore, proxy: FaultProxy) -> None:
    store.write("champion", b"1")
    store.read("champion")
    store.write("champion", b"2")
    proxy.schedule = Schedule([Rule("stale", "champion")])
    stale = store.read("champion")
    assert stale is not None
    assert stale.content == b"1"
    with pytest.raises(Conflict):
        store.write("champion", b"3", expected=stale.tag)
    proxy.schedule = Schedule()
    assert (store.read("champion") or (b"",))[0] == b"2"


def test_schedule_is_its_seed(s3_uri: str) -> None:
    drawn = [Schedule.from_seed(seed, ["a", "b"]).rules for seed in ("1", "1", "2", "3", "4")]
    assert drawn[0] == drawn[1]
    assert len({str(rules) for rules in drawn}) == 4
