"""The client for S3 and stores that speak its protocol, by boto3.

Everything that differs between stores is set in the environment, as for the AWS tools, and never in a parameter:

- credentials: ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``, a web identity (``AWS_ROLE_ARN`` and
  ``AWS_WEB_IDENTITY_TOKEN_FILE``, as EKS sets them), or the machine's role; with none, requests are anonymous;
- ``AWS_ENDPOINT_URL_S3``, ``AWS_REGION`` (or ``AWS_DEFAULT_REGION``), ``AWS_CA_BUNDLE``;
- ``AWS_REQUEST_CHECKSUM_CALCULATION`` and ``AWS_RESPONSE_CHECKSUM_VALIDATION``: ``when_required`` for stores that know
  no checksums, else ``when_supported``;
- ``AWS_MAX_ATTEMPTS`` and ``AWS_RETRY_MODE``: 6 and ``standard`` if not set;
- ``KFP_TEXTCLF_S3_ADDRESSING``: ``path`` (default with an endpoint of one's own) or ``virtual``;
- ``KFP_TEXTCLF_S3_TIMEOUT``: seconds that a connection may be silent, 60 if not set.
"""

import contextlib
import os
import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import md5
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import Conflict, NotFound

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
    "BadDigest": "run it again: what was sent was damaged on the way",
    "SlowDown": "try again later, or with less at once",
}
REQUIRED = {  # what the answer to an operation must hold
    "CompleteMultipartUpload": "ETag",
    "CreateMultipartUpload": "UploadId",
    "GetObject": "ETag",
    "HeadObject": "ETag",
    "ListObjectsV2": "Name",
    "PutObject": "ETag",
    "UploadPart": "ETag",
}
ENVIRONMENT = "check the environment variables AWS_*"


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
    retries: dict[str, Any] = {} if environment.get("AWS_RETRY_MODE") else {"mode": "standard"}
    if not environment.get("AWS_MAX_ATTEMPTS"):
        retries["total_max_attempts"] = ATTEMPTS
    if addressing not in ("auto", "path", "virtual"):
        raise UserError(f"KFP_TEXTCLF_S3_ADDRESSING={addressing!r}: is not one of auto, path, virtual")
    if not re.fullmatch(r"\d+(\.\d+)?", timeout) or not float(timeout):
        raise UserError(f"KFP_TEXTCLF_S3_TIMEOUT={timeout!r}: is not a number of seconds")
    with translated(endpoint or "S3"):
        session = Session(region_name=environment.get("AWS_REGION") or None)  # boto3 reads AWS_DEFAULT_REGION alone
        config = Config(
            s3={"addressing_style": addressing},
            retries=retries,
            connect_timeout=10,
            read_timeout=float(timeout),
            max_pool_connections=16,
            signature_version="s3v4" if session.get_credentials() else UNSIGNED,
        )
        made = session.client("s3", region_name=session.region_name or "us-east-1", config=config)
        made.meta.events.register("after-call.s3", _refuse_foreign)
        if made.meta.config.request_checksum_calculation == "when_required":
            for operation in ("PutObject", "UploadPart"):
                made.meta.events.register(f"before-call.s3.{operation}", _add_md5)
        return made


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    """Let a store that knows no other checksums refuse what was damaged on the way."""
    body = params["body"]
    if hasattr(body, "read"):
        digest, start = md5(usedforsecurity=False), body.tell()
        while chunk := body.read(1 << 20):
            digest.update(chunk)
        body.seek(start)
    else:
        digest = md5(body, usedforsecurity=False)
    params["headers"]["Content-MD5"] = b64encode(digest.digest()).decode()


def _refuse_foreign(http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
    """Refuse a success that is not a store's: the page of a proxy that wants a login, for example."""
    if http_response.status_code < 300 and REQUIRED.get(model.name, "ResponseMetadata") not in parsed:
        raise UserError(
            f"{http_response.url.partition('?')[0]}: does not answer as an S3 store does; "
            "check AWS_ENDPOINT_URL_S3 and the proxies on the way"
        )


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
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ClientError as error:
        raise _refusal(where, error) from error
    except Boto3Error as error:  # of a transfer, which wraps what happened
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):
            raise _refusal(where, cause) from error
        raise UserError(f"{where}: {cause or error}; check the store and the network, then run it again") from error
    except BotoCoreError as error:
        raise UserError(f"{where}: {error}; check the store, the network and {ENVIRONMENT[6:]}") from error
    except (HTTPError, OSError, ResponseParserError) as error:
        raise UserError(f"{where}: {error}; check the store and the network, then run it again") from error
    except ValueError as error:  # a malformed endpoint or setting
        if isinstance(error, UnicodeError):
            raise
        raise UserError(f"{where}: {error}; {ENVIRONMENT}") from error


def _refusal(where: str, error: Any) -> UserError:
    """Return the error for what the store said."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    if code in ("NoSuchKey", "404", "NotFound") or (status == 404 and code != "NoSuchBucket"):
        return NotFound(f"{where}: does not exist")
    if status in (409, 412):
        return Conflict(f"{where}: was changed by somebody else meanwhile")
    message = error.response.get("Error", {}).get("Message") or "no reason given"
    return UserError(f"{where}: {code}: {message}; {FIXES.get(code, 'check the store')}")
