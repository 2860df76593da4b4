"""Reading published models: by the URI of a store or of one of its versions, always verified.

A version in a directory is read where it lies. One from S3 is kept in a cache, which is verified at every use and
never trusted: ``KFP_TEXTCLF_CACHE``, or ``kfp-textclf`` below ``XDG_CACHE_HOME`` or ``~/.cache``.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

from kfp_textclf.components.common.artifacts import MANIFEST, sha256_of, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.model_versions import parse_manifest, prefix_of
from kfp_textclf.components.common.object_store import local_path

NO_CHAMPION = "none"  # in place of the URI of a version to beat
_VERSION = re.compile(r"(?P<store>.+)/versions/(?P<version>[0-9a-f]{16})/?")


def version_uri(uri: str, name: str = "model") -> str:
    """Return the URI of the version that a URI means: a store means its champion.

    Args:
        uri: URI of a store, of a version in it, or, as ``file://``, of a directory made by a step.
        name: The parameter to blame.

    Raises:
        UserError: The URI is malformed, or the store has no champion.
    """
    if _VERSION.fullmatch(uri) or (uri.startswith("file://") and (local_path(uri, name) / MANIFEST).is_file()):
        return uri
    store = ModelStore.open(uri, name)
    champion = store.champion()
    if not champion:
        raise UserError(f"{name}={uri!r}: is neither a published version nor a store with a champion; correct it")
    return store.uri_of(champion["version"])


def open_version(uri: str, name: str = "model") -> Path:
    """Return a local directory with a published model, every byte of it verified.

    Args:
        uri: URI of a store, of a version in it, or, as ``file://``, of a directory made by a step.
        name: The parameter to blame.

    Raises:
        UserError: There is no such version, or it is damaged; the message names the file and both sha256.
    """
    uri = version_uri(uri, name)
    found = _VERSION.fullmatch(uri)
    if uri.startswith("file://"):
        directory = local_path(uri, name)
        return _verified_version(directory, found["version"]) if found else verified(directory)
    if not found:
        raise UserError(f"{name}={uri!r}: is no version of a store")
    directory = cache_directory() / found["version"]
    if not directory.is_dir():
        _download(ModelStore.open(found["store"], name), found["version"], directory)
    return _verified_version(directory, found["version"])


def cache_directory() -> Path:
    """Return where downloaded versions are kept."""
    root = os.environ.get("KFP_TEXTCLF_CACHE")
    if root:
        return Path(root).absolute() / "models"
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache).absolute() / "kfp-textclf" / "models"


def _verified_version(directory: Path, version: str) -> Path:
    """Return a version's directory once it holds what its name stands for, and nothing else."""
    manifest = directory / MANIFEST
    if not manifest.is_file():
        raise UserError(f"{directory}: is no published version; `kfp-textclf models list` names them")
    listed = {*parse_manifest(manifest.read_bytes(), version, str(manifest))["files"], MANIFEST}
    present = {path.relative_to(directory) for path in directory.rglob("*") if not path.is_dir()}
    extra = [path.as_posix() for path in present if path.as_posix() not in listed and path.name[0] != "."]
    if extra:
        raise UserError(f"{directory / min(extra)}: is not in the manifest of the version; delete it")
    return verified(directory)


def _download(store: ModelStore, version: str, directory: Path) -> None:
    """Fetch a version into a directory that appears whole, also when several processes do it at once."""
    manifest = store.manifest(version)
    if manifest is None:
        raise UserError(f"{store.uri_of(version)}: is no published version; `kfp-textclf models list` names them")
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=directory.parent))
    except OSError as error:
        raise UserError(f"{directory}: cannot be written ({error.strerror}); set KFP_TEXTCLF_CACHE") from error
    try:
        for name, expected in manifest["files"].items():
            key = prefix_of(version) + name
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            store.store.download(key, partial / name)
            actual = sha256_of(partial / name)
            if actual != expected["sha256"]:
                raise UserError(
                    f"{store.store.uri_of(key)}: differs from its manifest (sha256 {expected['sha256']} expected, is "
                    f"{actual}); roll back or publish it again"
                )
        store.store.download(prefix_of(version) + MANIFEST, partial / MANIFEST)
        partial.chmod(0o755)
        try:
            partial.rename(directory)
        except OSError as error:
            if not directory.is_dir():  # otherwise another process was first
                raise UserError(f"{directory}: cannot be written ({error.strerror}); set KFP_TEXTCLF_CACHE") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
