"""S3 and stores that speak its protocol, by boto3.

Everything that differs between stores is set in the environment, as for the AWS tools, and never in a parameter:

- credentials: ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, a web identity (``AWS_ROLE_ARN`` and
  ``AWS_WEB_IDENTITY_TOKEN_FILE``, as EKS sets them), or the machine's role; with none, requests are anonymous;
- ``AWS_ENDPOINT_URL_S3``, ``AWS_REGION`` (or ``AWS_DEFAULT_REGION``), ``AWS_CA_BUNDLE``;
- ``AWS_REQUEST_CHECKSUM_CALCULATION`` and ``AWS_RESPONSE_CHECKSUM_VALIDATION``: ``when_required`` for stores that know
  no checksums, else ``when_supported``;
- ``AWS_MAX_ATTEMPTS``; ``KFP_TEXTCLF_S3_ADDRESSING``: ``path`` (default with an endpoint of one's own) or ``virtual``;
- ``KFP_TEXTCLF_S3_TIMEOUT``: seconds that a connection may be silent, 60 if not set.
"""

import contextlib
import os
import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import ABSENT, Conflict, NotFound, ObjectStore, Stored, checked_key

ATTEMPTS = 6
FIXES = {
    "NoSuchBucket": "create the bucket or correct its name",
    "AccessDenied": "give these credentials the right to do that",
    "403": "give these credentials the right to do that",
    "InvalidAccessKeyId": "correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "renew the credentials",
    "ExpiredTokenException": "renew the credentials",
    "InvalidToken": "renew the credentials",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "SlowDown": "try again later, or with less at once",
}
ENVIRONMENT = "check the environment variables AWS_*"


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
        try:
            with translated(self.uri_of(key)):
                answer = client().get_object(Bucket=self.bucket, Key=self._key(key))
                return Stored(answer["Body"].read(), answer["ETag"])
        except NotFound:
            return None

    def write(self, key: str, content: bytes, expected: str | None = None) -> str:  # noqa: D102
        condition: dict[str, str] = {}
        if expected is not None:
            condition = {"IfNoneMatch": "*"} if expected == ABSENT else {"IfMatch": expected}
        try:
            with translated(self.uri_of(key)):
                return client().put_object(Bucket=self.bucket, Key=self._key(key), Body=content, **condition)["ETag"]
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
    found = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", uri)
    prefix = (found[2] or "").rstrip("/") if found else ""
    if not found or (prefix and not _is_plain(prefix)):
        raise UserError(f"{name}={uri!r}: is not of the form s3://bucket/prefix")
    return found[1], prefix


def _is_plain(key: str) -> bool:
    with contextlib.suppress(UserError):
        return bool(checked_key(key))
    return False


def client() -> Any:
    """Return the S3 client of this process; another one when the environment has changed.

    Raises:
        UserError: The environment's settings for S3 are unusable.
    """
    settings = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "KFP_TEXTCLF_S3_"))))
    with _lock:  # a client may be used by many threads, but not be made by them
        return _client(os.getpid(), settings)


_lock = threading.Lock()


@cache
def _client(process: int, settings: tuple[tuple[str, str], ...]) -> Any:
    from boto3.session import Session
    from botocore import UNSIGNED
    from botocore.config import Config

    environment = dict(settings)
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    addressing = environment.get("KFP_TEXTCLF_S3_ADDRESSING") or ("path" if endpoint else "auto")
    timeout = environment.get("KFP_TEXTCLF_S3_TIMEOUT") or "60"
    if addressing not in ("auto", "path", "virtual"):
        raise UserError(f"KFP_TEXTCLF_S3_ADDRESSING={addressing!r}: is not one of auto, path, virtual")
    if not re.fullmatch(r"\d+(\.\d+)?", timeout) or not float(timeout):
        raise UserError(f"KFP_TEXTCLF_S3_TIMEOUT={timeout!r}: is not a number of seconds")
    with translated(endpoint or "S3"):
        session = Session(region_name=environment.get("AWS_REGION") or None)  # boto3 reads AWS_DEFAULT_REGION alone
        config = Config(
            s3={"addressing_style": addressing},
            retries=None if "AWS_MAX_ATTEMPTS" in environment else {"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=10,
            read_timeout=float(timeout),
            max_pool_connections=16,
            signature_version="s3v4" if session.get_credentials() else UNSIGNED,
        )
        return session.client("s3", region_name=session.region_name or "us-east-1", config=config)


@contextlib.contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what boto3 raises in the block into one line about ``where``.

    Raises:
        NotFound: There is no such object.
        Conflict: A condition on the object's tag does not hold.
        UserError: Anything else that the store, the network or the environment refuses.
    """
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in ("NoSuchKey", "404", "NotFound") or (status == 404 and code != "NoSuchBucket"):
            raise NotFound(f"{where}: does not exist") from error
        if status in (409, 412):
            raise Conflict(f"{where}: was changed by somebody else meanwhile") from error
        message = error.response.get("Error", {}).get("Message") or "no reason given"
        raise UserError(f"{where}: {code}: {message}; {FIXES.get(code, 'check the store')}") from error
    except Boto3Error as error:  # of a transfer in parts, which wraps what happened
        cause = error.__cause__ or error.__context__
        raise UserError(f"{where}: {cause or error}; check the store and the network, then run it again") from error
    except BotoCoreError as error:
        raise UserError(f"{where}: {error}; check the store, the network and {ENVIRONMENT[6:]}") from error
    except (HTTPError, OSError) as error:
        raise UserError(f"{where}: {error}; check the store and the network, then run it again") from error
    except ValueError as error:  # a malformed endpoint or setting
        if isinstance(error, UnicodeError):
            raise
        raise UserError(f"{where}: {error}; {ENVIRONMENT}") from error
