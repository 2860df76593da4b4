"""The same pinned bytes from files, from a static HTTP server and from a real S3 server."""

import hashlib
import json
import mmap
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from range_server import RangeServer, range_server
from stage_inputs import remains

from kfp_textclf.components.common import reading, s3
from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.common.objects import Conflict
from kfp_textclf.components.common.s3_source import S3Source
from kfp_textclf.components.ingest.stage import ingest

FILES = {
    "train.csv": b"flight,to boston\n" * 20_000,
    "more/deep/test data ü.csv": b"fare,how much\n",
    "empty.csv": b"",
    "images/1.bin": random.Random(1).randbytes(350_001),
}


def key_of(content: bytes) -> str:
    md5 = hashlib.md5(content).hexdigest()
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def pin(store: str, files: dict[str, bytes] = FILES) -> dict[str, Any]:
    entries = [
        {"path": path, "md5": hashlib.md5(content).hexdigest(), "size": len(content)} for path, content in files.items()
    ]
    return {"store": store, "git_rev": "abc", "files": entries}


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(reading, "PART", 24 * mmap.ALLOCATIONGRANULARITY)


@pytest.fixture
def s3_store(s3_uri: str) -> str:
    for content in FILES.values():
        open_store(s3_uri).write(key_of(content), content)
    return s3_uri


@pytest.fixture
def file_store(tmp_path: Path) -> str:
    store = open_store((tmp_path / "store").as_uri())
    for content in FILES.values():
        store.write(key_of(content), content)
    return store.uri


@pytest.fixture
def http_store() -> Iterator[str]:
    with range_server(RangeServer({f"/dvc/{key_of(content)}": content for content in FILES.values()})) as server:
        yield f"{server.uri}/dvc"


@pytest.mark.s3
def test_all_stores_give_the_same_artifact(s3_store: str, http_store: str, file_store: str, tmp_path: Path) -> None:
    artifacts = {}
    for name, store in {"s3": s3_store, "http": http_store, "file": file_store}.items():
        result = ingest(pin(store), str(tmp_path / name))
        assert (result.store, result.git_rev) == (store, "abc")
        directory = verified(tmp_path / name)
        files = {path: (directory / path) for path in remains(directory)}
        artifacts[name] = {path: file.is_file() and file.read_bytes() for path, file in files.items()}
    assert artifacts["s3"] == artifacts["http"] == artifacts["file"]
    assert {path: artifacts["s3"][path] for path in FILES} == FILES


@pytest.mark.s3
def test_manifest_has_the_pinned_hash_of_the_bytes(s3_store: str, tmp_path: Path) -> None:
    ingest(pin(s3_store), str(tmp_path / "raw"))
    for path, content in FILES.items():
        assert read_json(tmp_path / "raw" / "manifest.json")["files"][path] == {
            "md5": hashlib.md5(content).hexdigest(),
            "size": len(content),
        }


@pytest.mark.s3
@pytest.mark.parametrize("change", ["flipped", "longer", "shorter", "empty", "much longer"])
def test_tampered_object_is_refused(s3_store: str, tmp_path: Path, change: str) -> None:
    content = FILES["images/1.bin"]
    tampered = {
        "flipped": content[:-1] + bytes([content[-1] ^ 1]),
        "longer": content + b"=1+1\n",
        "shorter": content[:-1],
        "empty": b"",
        "much longer": content * 5,
    }[change]
    open_store(s3_store).write(key_of(content), tampered)
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as error:
        ingest(pin(s3_store), str(tmp_path / "out" / "raw"))
    message = str(error.value)
    assert message.startswith(f"images/1.bin: {s3_store}/{key_of(content)} holds other bytes")
    assert f"pinned (md5 {hashlib.md5(content).hexdigest()}, {len(content)} bytes)" in message
    assert f"{len(tampered)} bytes" in message
    assert change == "much longer" or f"md5 {hashlib.md5(tampered).hexdigest()}" in message
    assert remains(tmp_path / "out") == []


@pytest.mark.parametrize("tampered", [b"other,bytes\n", b"", FILES["train.csv"][:-1] + b"\r"])
def test_cached_artifact_that_was_tampered_is_refused(file_store: str, tmp_path: Path, tampered: bytes) -> None:
    ingest(pin(file_store), str(tmp_path / "raw"))
    (tmp_path / "raw" / "train.csv").write_bytes(tampered)
    with pytest.raises(UserError) as error:
        verified(tmp_path / "raw")
    for content in (FILES["train.csv"], tampered):
        assert f"md5 {hashlib.md5(content).hexdigest()}" in str(error.value)
        assert f"size {len(content)}" in str(error.value)


@pytest.mark.s3
def test_missing_object_and_bucket_are_named(s3_store: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv: s3://.*: does not exist"):
        ingest(pin(f"{s3_store}/other"), str(tmp_path / "raw"))
    with pytest.raises(UserError, match=r"train\.csv: s3://no-such-bucket/.*NoSuchBucket.*create the bucket"):
        ingest(pin("s3://no-such-bucket"), str(tmp_path / "raw"))


@pytest.mark.s3
def test_reads_belong_to_one_version_of_the_object(s3_uri: str) -> None:
    store = open_store(s3_uri)
    tag = store.write("x", b"0123456789")
    source = S3Source(*s3.parse_s3_uri(f"{s3_uri}/x", "uri"))
    answer = source.open(3, 5, tag)
    assert (answer.start, answer.size, answer.in_parts, answer.tag) == (3, 10, True, tag)
    store.write("x", b"9876543210")
    with pytest.raises(Conflict):
        source.open(3, 5, tag)


@pytest.mark.s3
def test_bucket_for_everybody_needs_no_credentials(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().create_bucket(Bucket="public")
    prefix = s3_uri.rpartition("/")[2]
    for content in FILES.values():
        open_store(f"s3://public/{prefix}").write(key_of(content), content)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    ingest(pin(f"s3://public/{prefix}"), str(tmp_path / "raw"))
    assert (verified(tmp_path / "raw") / "train.csv").read_bytes() == FILES["train.csv"]
    with pytest.raises(UserError, match="AccessDenied"):
        ingest(pin(s3_uri), str(tmp_path / "other"))


@pytest.mark.s3
@pytest.mark.parametrize("mode", ["when_required", "when_supported"])
def test_both_checksum_modes(s3_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", mode)
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", mode)
    open_store(s3_store).write("again", FILES["train.csv"])
    ingest(pin(s3_store), str(tmp_path / "raw"))
    verified(tmp_path / "raw")


def test_web_identity_is_exchanged_for_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on EKS: a role and a token file in the environment, and a token service, here a stand-in."""
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from urllib.parse import parse_qs

    asked: list[dict[str, list[str]]] = []
    signed: list[str] = []
    content = FILES["train.csv"]

    class Service(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self._answer(
                b"<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                b"<AccessKeyId>POD</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>tok</SessionToken>"
                b"<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser><Arn>a</Arn>"
                b"<AssumedRoleId>i</AssumedRoleId></AssumedRoleUser></AssumeRoleWithWebIdentityResult>"
                b"<ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleWithWebIdentityResponse>"
            )

        def do_GET(self) -> None:
            signed.append(f"{self.headers['Authorization']} {self.headers['X-Amz-Security-Token']}")
            self._answer(content)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"1"')
            self.end_headers()
            self.wfile.write(body)

    (tmp_path / "token").write_text("the-token")
    with HTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        for service in ("STS", "S3"):
            monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"http://127.0.0.1:{server.server_port}")
        ingest(pin("s3://pods-only", {"train.csv": content}), str(tmp_path / "raw"))
        server.shutdown()
    assert asked[0]["WebIdentityToken"] == ["the-token"]
    assert asked[0]["RoleArn"] == ["arn:aws:iam::123456789012:role/reader"]
    assert all("Credential=POD/" in header and header.endswith(" tok") for header in signed)
    assert "eu-central-1" in signed[0]


def test_no_credential_is_kept_with_the_data(file_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    result = ingest(pin(file_store), str(tmp_path / "raw"))
    assert "very-secret" not in json.dumps(result.metadata())
    assert not [
        file for file in (tmp_path / "raw").rglob("*") if file.is_file() and b"very-secret" in file.read_bytes()
    ]
