"""The pin of a data set: which bytes, and where a copy of them can be had."""

import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import checked_key
from kfp_textclf.components.common.s3 import parse_s3_uri
from kfp_textclf.components.common.sources import Interrupted, closed
from kfp_textclf.components.common.transfer import open_source

SCHEMES = ("file", "http", "https", "s3")
NAME_BYTES = 255  # of one component of a path, on the usual file systems


@dataclass(frozen=True)
class PinnedFile:
    """One file: its relative path in the data set, md5, size in bytes, and the URI of a copy."""

    path: str
    md5: str
    size: int
    uri: str


@dataclass(frozen=True)
class DatasetPin:
    """A version of a data set: its files, the store that holds them and the git revision that pinned them."""

    store: str
    git_rev: str
    files: tuple[PinnedFile, ...]

    @classmethod
    def parse(cls, value: dict[str, Any]) -> "DatasetPin":
        """Check a ``dataset_pin`` parameter.

        Args:
            value: ``{"store": URI, "git_rev": str, "files": [{"path": str, "md5": str, "size": int, "uri": URI?},
                ...]}``. A file without a URI of its own lies in the store under DVC's key, see `object_key`.

        Raises:
            UserError: Something is missing or malformed, or a path would leave the data set's directory.
        """
        if not isinstance(value, dict) or not isinstance(value.get("files"), list) or not value["files"]:
            raise UserError("dataset_pin: has no files; make it with kfp-textclf from .dvc pins")
        store = str(value.get("store") or "").rstrip("/")
        files = tuple(_pinned_file(entry, store) for entry in value["files"])
        paths = [file.path for file in files]
        if len(set(paths)) != len(paths):
            raise UserError("dataset_pin: names a path twice; give every file a path of its own")
        folders = {str(parent) for path in paths for parent in PurePosixPath(path).parents}
        if inside := sorted(folders.intersection(paths)):
            raise UserError(f"dataset_pin: path {inside[0]!r} is a file and a folder; rename one of them")
        return cls(store, str(value.get("git_rev") or ""), files)


def object_key(md5: str, legacy: bool = False) -> str:
    """Return the key of an object below a DVC remote or cache; ``legacy``: as DVC 2 did it."""
    return f"{'' if legacy else 'files/md5/'}{md5[:2]}/{md5[2:]}"


def _pinned_file(entry: Any, store: str) -> PinnedFile:
    if not isinstance(entry, dict):
        raise UserError(f"dataset_pin: {entry!r} is not a file entry with path, md5 and size")
    path, md5, size = str(entry.get("path", "")), str(entry.get("md5", "")), entry.get("size")
    if not _is_plain(path):
        raise UserError(f"dataset_pin: path {path!r} is not a plain relative path; pin files below one directory")
    if path.split("/")[0] == MANIFEST:
        raise UserError(f"dataset_pin: path {path!r} is taken by the artifact's own manifest; rename the file")
    if not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise UserError(f"dataset_pin: {path}: md5 {md5!r} is not 32 hexadecimal digits; copy it from the .dvc file")
    if not isinstance(size, int | float) or isinstance(size, bool) or not 0 <= size < math.inf or size % 1:
        raise UserError(f"dataset_pin: {path}: size {size!r} is not a number of bytes; copy it from the .dvc file")
    uri = str(entry.get("uri") or f"{store}/{object_key(md5)}")
    if uri.partition("://")[0] not in SCHEMES:
        raise UserError(f"dataset_pin: {path}: {uri!r} cannot be fetched; use {', '.join(f'{s}://' for s in SCHEMES)}")
    if uri.startswith("s3://") and not parse_s3_uri(uri, f"dataset_pin: {path}: uri")[1]:
        raise UserError(f"dataset_pin: {path}: {uri!r} is a bucket; name an object in it")
    return PinnedFile(path, md5, int(size), uri)


def _is_plain(path: str) -> bool:
    """Whether a path stays below its directory, on Windows too, and can be the name of a file."""
    try:
        name = checked_key(path).encode()
    except (UserError, UnicodeEncodeError):  # a lone surrogate is the name of no file
        return False
    parts = name.split(b"/")
    return not any(re.match(rb"[A-Za-z]:", part) or len(part) > NAME_BYTES for part in parts)


def check_pinned(file: PinnedFile) -> None:
    """Refuse a pinned file that is absent, or of another size; its bytes are not read.

    Raises:
        UserError: It is so, or its store cannot be asked.
    """
    try:
        answer = open_source(file.uri).open(0, None, "")
    except Interrupted as error:
        raise UserError(
            f"{file.path}: {file.uri} does not answer ({error}); check the store and the network"
        ) from error
    except UserError as error:
        raise type(error)(f"{file.path}: {error}") from error
    closed(answer)
    if answer.size is not None and answer.size != file.size:
        raise UserError(
            f"{file.path}: {file.uri} holds other bytes ({answer.size} bytes) than pinned (md5 {file.md5}, {file.size} "
            "bytes); restore the pinned version (dvc pull) or pin the new one (kfp-textclf data add)"
        )
