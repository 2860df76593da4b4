"""Bring one object here, whole and as expected, or not at all."""

import time
from dataclasses import dataclass
from pathlib import Path

from kfp_textclf.components.common.artifacts import atomic_file
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import Conflict
from kfp_textclf.components.common.reading import Reading, Received, Report, TooLong
from kfp_textclf.components.common.sources import FileSource, Source

SURPLUS = 1 << 20  # bytes over the expected size that are still read, so that a refusal can name their md5
LARGE, REPORT_SECONDS = 64 << 20, 1.0  # bytes from which progress is told, and how often


@dataclass(frozen=True)
class Expected:
    """What must arrive: size in bytes and md5."""

    size: int
    md5: str


def transfer(
    source: Source,
    target: Path,
    expected: Expected | None = None,
    report: Report | None = None,
) -> Received:
    """Write an object to ``target``, which appears or is replaced only when the bytes are the expected ones.

    Args:
        source: The object.
        target: File to write; a temporary file lies beside it meanwhile.
        expected: What the object must be; None takes what there is.
        report: Called now and then with bytes done and in all, when the object is large.

    Raises:
        NotFound: There is no such object.
        Conflict: The object is replaced by others again and again.
        UserError: It cannot be read or written, or is not the expected one.
    """
    limit = None if expected is None else expected.size + SURPLUS
    try:
        with atomic_file(target) as partial:
            for again in (True, False):  # what was replaced or came damaged is fetched once more
                try:
                    with partial.open("w+b", buffering=0) as file:
                        received = Reading(source, file.fileno(), limit, report and _now_and_then(report)).run()
                except Conflict:
                    if again:
                        continue
                    raise
                if expected is None or (received.size, received.md5) == (expected.size, expected.md5):
                    break
            else:
                raise _other_bytes(source, f"md5 {received.md5}, {received.size} bytes", expected)
    except TooLong as error:
        raise _other_bytes(source, str(error), expected) from None
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); check rights and space") from error
    return received


def _other_bytes(source: Source, actual: str, expected: Expected | None) -> UserError:
    pinned = f"md5 {expected.md5}, {expected.size} bytes" if expected else "unknown"
    return UserError(
        f"{source.uri} holds other bytes ({actual}) than pinned ({pinned}); "
        "restore the pinned version (dvc pull) or pin the new one (kfp-textclf data add)"
    )


def _now_and_then(report: Report) -> Report:
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if total >= LARGE and (done == total or time.monotonic() - last >= REPORT_SECONDS):
            last = time.monotonic()
            report(done, total)

    return tell


def open_source(uri: str) -> Source:
    """Return the source at ``file://``, ``http://``, ``https://`` or ``s3://bucket/key``; nothing is asked of it yet.

    Raises:
        UserError: The URI is malformed.
    """
    scheme = uri.partition("://")[0]
    if scheme == "file":
        return FileSource(uri)
    if scheme in ("http", "https"):
        from kfp_textclf.components.common.http_source import HttpSource

        return HttpSource(uri)
    if scheme == "s3":
        from kfp_textclf.components.common.s3 import parse_s3_uri
        from kfp_textclf.components.common.s3_source import S3Source

        bucket, key = parse_s3_uri(uri, "uri")
        if key:
            return S3Source(bucket, key)
    raise UserError(f"{uri!r} cannot be fetched; use file://, http://, https:// or s3://bucket/key")
