"""Fetching pinned bytes: streamed, hashed on the way, refused when they are not the pinned ones."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.ingest.pin import PinnedFile

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60


def fetch(pinned: PinnedFile, target: Path) -> int:
    """Write the pinned bytes to ``target`` and return the number of lines among them.

    Raises:
        UserError: The copy cannot be read, or its size or md5 is not the pinned one.
    """
    digest = hashlib.md5(usedforsecurity=False)
    size = lines = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(pinned) as source, target.open("wb") as file:
        while size <= pinned.size and (chunk := source.read(CHUNK)):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
            file.write(chunk)
    if size != pinned.size or digest.hexdigest() != pinned.md5:
        actual = f"md5 {digest.hexdigest()}, {size} bytes" if size <= pinned.size else f"over {pinned.size} bytes"
        raise UserError(
            f"{pinned.path}: {pinned.uri} holds other bytes ({actual}) than pinned (md5 {pinned.md5}, "
            f"{pinned.size} bytes); restore the pinned version (make data) or pin the new one (dvc add)"
        )
    return lines


@contextmanager
def _opened(pinned: PinnedFile) -> Iterator[BinaryIO]:
    try:
        if pinned.uri.startswith("file://"):
            with open(unquote(urlsplit(pinned.uri).path), "rb") as source:
                yield source
        else:
            request = urllib.request.Request(pinned.uri)  # noqa: S310  (the pin allows http and https alone)
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as source:  # noqa: S310
                yield source
    except FileNotFoundError as error:
        raise UserError(f"{pinned.path}: {pinned.uri} does not exist; fetch the data first (make data)") from error
    except urllib.error.HTTPError as error:
        raise UserError(f"{pinned.path}: {pinned.uri} answers {error.code} {error.reason}; check the store") from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a malformed address
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise UserError(
            f"{pinned.path}: {pinned.uri} cannot be read ({reason}); check the store and the network"
        ) from error
