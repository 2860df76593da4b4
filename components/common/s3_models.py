"""Model directories in S3, kept in a cache here: each version once, however many processes ask for it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, check_file, manifest_files, verified, write_manifest
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import checked_key
from kfp_textclf.components.common.s3 import S3Store


def cached_model(uri: str, patterns: Sequence[str]) -> Path:
    """Return a local directory with the objects below a prefix.

    It lies in ``KFP_TEXTCLF_CACHE``, or in a directory of this user's below the system's temporary one. Files there are
    compared with their hashes each time.

    Args:
        uri: ``s3://bucket/prefix``.
        patterns: Names of the objects that are fetched.

    Raises:
        UserError: There is no model, it differs from its manifest, or the store or the cache cannot be used.
    """
    store, tags = _tagged(uri, patterns)
    version = _version(store, tags)
    final = _cache() / version
    if not final.exists():
        partial = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=final.parent))
        try:
            _fetch(store, tags, partial)
            _place(partial, final)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return verified(final)


def model_version(uri: str, patterns: Sequence[str]) -> str:
    """Return 32 hexadecimal digits that change with what lies below a prefix; nothing is downloaded.

    Args:
        uri: ``s3://bucket/prefix``.
        patterns: Names of the objects that count.

    Raises:
        UserError: There is no model, or the store cannot be used.
    """
    return _version(*_tagged(uri, patterns))


def _tagged(uri: str, patterns: Sequence[str]) -> tuple[S3Store, dict[str, str]]:
    store = S3Store(uri, "base_model")
    tags = {key: tag for key, tag in store.tags().items() if _is_wanted(key, patterns)}
    if "config.json" not in tags:
        raise UserError(f"base_model {uri!r}: holds no config.json; name a prefix with a Hugging Face model directory")
    return store, tags


def _version(store: S3Store, tags: dict[str, str]) -> str:
    return hashlib.sha256(repr((store.uri, sorted(tags.items()))).encode()).hexdigest()[:32]


def _is_wanted(key: str, patterns: Sequence[str]) -> bool:
    try:
        return any(fnmatch(checked_key(key), pattern) for pattern in patterns)
    except UserError:  # a key such as ../x, or of a folder
        return False


def _fetch(store: S3Store, keys: dict[str, str], directory: Path) -> None:
    published: dict[str, dict[str, Any]] | None = None
    if MANIFEST in keys:
        store.download(MANIFEST, directory / MANIFEST)
        published = manifest_files(directory / MANIFEST)
    for key in keys:
        if key == MANIFEST or (published is not None and key not in published):
            continue
        (directory / key).parent.mkdir(parents=True, exist_ok=True)
        store.download(key, directory / key)
        if published is not None:
            check_file(directory / key, published[key], f"restore {store.uri_of(key)} or publish the model again")
    write_manifest(directory, "base_model")


def _place(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError as error:
        if not final.is_dir():  # else another process was first: the same version
            raise UserError(f"{final}: cannot be written ({error.strerror}); set KFP_TEXTCLF_CACHE") from error


def _cache() -> Path:
    chosen = os.environ.get("KFP_TEXTCLF_CACHE")
    path = Path(chosen or Path(tempfile.gettempdir()) / f"kfp-textclf-{os.getuid()}").absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); set KFP_TEXTCLF_CACHE") from error
    if not chosen and owner != os.getuid():
        raise UserError(f"{path}: belongs to somebody else; set KFP_TEXTCLF_CACHE to a directory of your own")
    return path
