"""Artifacts on disk: directories that appear whole, carry a manifest, and are verified before they are read."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import checked_key

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
HASHES = ("md5", "sha256")  # a manifest gives one of them at least: md5 where that is what pins the bytes


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    return _hash_of(path, "sha256")


def _hash_of(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(name, usedforsecurity=False)).hexdigest()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: The file is missing or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: is not valid JSON ({error})") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as JSON with sorted keys, whole or not; NaN and infinity are refused (``ValueError``)."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a new, empty file beside ``path`` that takes its name when the block ends well, and vanishes otherwise."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:60]}.", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_directory(
    path: str | Path, producer: str, hashes: Mapping[str, Mapping[str, str]] | None = None
) -> Iterator[Path]:
    """Yield a new directory that becomes ``path`` when the block ends well.

    The block writes into a temporary sibling. At its end the manifest is written and the sibling renamed, so that
    nothing half-written is ever seen under the final name. When the block raises, the sibling is removed and ``path``
    is untouched.

    Args:
        path: The final name. An earlier artifact of that name is replaced.
        producer: The stage that writes, recorded in the manifest.
        hashes: By relative path, what the block knows already: ``{"md5": ...}`` or ``{"sha256": ...}``; it may fill it.

    Raises:
        UserError: The place cannot be written.
    """
    final = Path(path)
    partial = final.with_name(f".{final.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{final}: cannot be written ({error.strerror}); choose a writable output directory") from error
    try:
        yield partial
        write_manifest(partial, producer, hashes)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(directory: Path, producer: str, hashes: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Write ``manifest.json``: schema version, producer, and a hash and the size in bytes of every other file."""
    known = hashes or {}
    files = {
        name: {
            **(known.get(name) or {"sha256": sha256_of(directory / name)}),
            "size": (directory / name).stat().st_size,
        }
        for name in _relative_files(directory)
    }
    write_json(directory / MANIFEST, {"schema_version": SCHEMA_VERSION, "producer": producer, "files": files})


def verified(path: str | Path) -> Path:
    """Return ``path`` once every file in it is the one that its manifest names.

    Raises:
        UserError: The artifact is missing, incomplete, or differs from its manifest.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no artifact here; run the step that makes it")
    for name, expected in manifest_files(directory / MANIFEST).items():
        check_file(directory / name, expected, f"delete {directory} and run again")
    return directory


def manifest_files(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a manifest says about every file: size in bytes, and md5 or sha256 or both.

    Raises:
        UserError: It is missing, malformed, or names files elsewhere.
    """
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path}: is not a version {SCHEMA_VERSION} manifest; make the artifact again")
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(f, dict) and "size" in f and f.keys() & HASHES for f in files.values()
    ):
        raise UserError(f"{path}: does not name its files; make the artifact again")
    for name in files:
        checked_key(name)
    return files


def check_file(file: Path, expected: Mapping[str, Any], fix: str) -> None:
    """Compare a file with what a manifest says about it.

    Raises:
        UserError: It is missing or differs; the message names size and hashes, and ends with ``fix``.
    """
    if not file.is_file():
        raise UserError(f"{file}: is missing from the artifact; {fix}")
    pinned = {name: expected[name] for name in (*HASHES, "size") if name in expected}
    actual = {name: _hash_of(file, name) for name in HASHES if name in expected} | {"size": file.stat().st_size}
    if actual != pinned:
        found, wanted = (", ".join(f"{name} {value}" for name, value in known.items()) for known in (actual, pinned))
        raise UserError(f"{file}: differs from its manifest; {fix} (it is {found}; expected is {wanted})")


def _relative_files(directory: Path) -> list[str]:
    files = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in files if name != MANIFEST)
