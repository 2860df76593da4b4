"""Objects in a bucket of S3, or of a store that speaks its protocol; `s3_client` says what the environment decides."""

import contextlib
import re
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import ABSENT, Conflict, NotFound, ObjectStore, Stored, checked_key
from kfp_textclf.components.common.s3_client import client, translated

DIGEST = "sha256-of-key-and-content"  # metadata of small objects
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")  # what AWS allows, but for a few rare rules
WAITS = (0.2, 1.0)  # seconds before an object is read again


class _Spoiled(UserError):
    """The answer broke off, or is not what was written."""


class S3Store(ObjectStore):
    """Objects below ``s3://bucket/prefix``. Requests are signed with what the environment holds."""

    def __init__(self, uri: str, name: str = "store") -> None:
        """Open a store; nothing is asked of it yet.

        Raises:
            UserError: The URI is malformed; ``name`` is the parameter to blame.
        """
        self.bucket, self.prefix = parse_s3_uri(uri, name)
        self.uri = f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def read(self, key: str) -> Stored | None:  # noqa: D102  (as the interface says)
        for wait in WAITS:
            try:
                return self._read(key)
            except _Spoiled:  # boto3 repeats a request, but not the reading of its answer
                time.sleep(wait)
        return self._read(key)

    def _read(self, key: str) -> Stored | None:
        from botocore.exceptions import BotoCoreError
        from urllib3.exceptions import HTTPError

        where = self.uri_of(key)
        try:
            with translated(where):
                answer = client().get_object(Bucket=self.bucket, Key=self._key(key))
        except NotFound:
            return None
        try:
            content = answer["Body"].read()
        except (BotoCoreError, HTTPError, OSError) as error:
            raise _Spoiled(f"{where}: {error}; check the store and the network, then run it again") from error
        if answer["Metadata"].get(DIGEST, expected := _digest(key, content)) != expected:
            raise _Spoiled(
                f"{where}: is not what was written there; check the store and the network, then run it again"
            )
        return Stored(content, answer["ETag"])

    def write(self, key: str, content: bytes, expected: str | None = None) -> str:  # noqa: D102
        options: dict[str, Any] = {"Metadata": {DIGEST: _digest(key, content)}}
        if expected is not None:
            options |= {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            with translated(self.uri_of(key)):
                return client().put_object(Bucket=self.bucket, Key=self._key(key), Body=content, **options)["ETag"]
        except (Conflict, NotFound):
            # A retry of a request whose answer was lost meets its own object.
            current = self.read(key)
            if current and current.content == content:
                return current.tag
            raise Conflict(f"{self.uri_of(key)}: was changed by somebody else meanwhile") from None

    def upload(self, source: Path, key: str) -> None:  # noqa: D102
        from boto3.s3.transfer import TransferConfig

        config = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=64 << 20, max_concurrency=4)
        with translated(self.uri_of(key)):
            client().upload_file(str(source), self.bucket, self._key(key), Config=config)

    def download(self, key: str, target: Path) -> None:  # noqa: D102
        from kfp_textclf.components.common.s3_source import S3Source
        from kfp_textclf.components.common.transfer import transfer

        transfer(S3Source(self.bucket, self._key(key)), target)

    def size(self, key: str) -> int | None:  # noqa: D102
        try:
            with translated(self.uri_of(key)):
                return client().head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"]
        except NotFound:
            return None

    def keys(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        return iter(self.tags(prefix))

    def tags(self, prefix: str = "") -> dict[str, str]:
        """Return the keys that start with ``prefix``, sorted, each with a tag that changes with the object."""
        start = f"{self.prefix}/" if self.prefix else ""
        with translated(self.uri):
            pages = client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start + prefix)
            found = {entry["Key"][len(start) :]: entry["ETag"] for page in pages for entry in page.get("Contents", ())}
        return dict(sorted(found.items()))

    def delete(self, key: str) -> None:  # noqa: D102
        with translated(self.uri_of(key)):
            client().delete_object(Bucket=self.bucket, Key=self._key(key))

    def uri_of(self, key: str) -> str:  # noqa: D102
        return f"{self.uri}/{checked_key(key)}"

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{checked_key(key)}" if self.prefix else checked_key(key)


def parse_s3_uri(uri: str, name: str) -> tuple[str, str]:
    """Return bucket and prefix of ``s3://bucket/prefix``; ``name`` is the parameter to blame.

    Raises:
        UserError: The URI has another form.
    """
    found = re.fullmatch(r"s3://([^/]+)(?:/(.*))?", uri)
    wrong = f"{name}={uri!r}: is not of the form s3://bucket/prefix"
    if not found:
        raise UserError(wrong)
    bucket, prefix = found[1], (found[2] or "").rstrip("/")
    if not BUCKET.fullmatch(bucket):
        raise UserError(f"{wrong}: a bucket's name is 3 to 63 of a-z, 0-9, dot and hyphen, which {bucket!r} is not")
    if prefix and not _is_plain(prefix):
        raise UserError(f"{wrong}: {prefix!r} is not a plain relative path")
    return bucket, prefix


def _digest(key: str, content: bytes) -> str:
    """Return what a small object is recognised by, also where the store knows no checksums."""
    return sha256(key.encode() + b"\0" + content).hexdigest()


def _is_plain(key: str) -> bool:
    with contextlib.suppress(UserError):
        return bool(checked_key(key))
    return False
