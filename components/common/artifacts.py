"""Artifacts on disk: directories that appear whole, carry a manifest, and are verified before they are read."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


def sha256_of(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    """Write ``value`` as JSON with sorted keys; NaN and infinity are refused (``ValueError``)."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


@contextmanager
def atomic_directory(path: str | Path, producer: str) -> Iterator[Path]:
    """Yield a new directory that becomes ``path`` when the block ends well.

    The block writes into a temporary sibling. At its end the manifest is written and the sibling renamed, so that
    nothing half-written is ever seen under the final name. When the block raises, the sibling is removed and ``path``
    is untouched.

    Args:
        path: The final name. An earlier artifact of that name is replaced.
        producer: The stage that writes, recorded in the manifest.

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
        write_manifest(partial, producer)
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(directory: Path, producer: str) -> None:
    """Write ``manifest.json``: schema version, producer, and the sha256 and size in bytes of every other file."""
    files = {
        name: {"sha256": sha256_of(directory / name), "size": (directory / name).stat().st_size}
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
    manifest = read_json(directory / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{directory / MANIFEST}: is not a version {SCHEMA_VERSION} manifest; make the artifact again")
    for name, expected in manifest["files"].items():
        file = directory / name
        if not file.is_file():
            raise UserError(f"{file}: is missing from the artifact; delete {directory} and run again")
        actual = sha256_of(file)
        if actual != expected["sha256"]:
            raise UserError(
                f"{file}: differs from its manifest (sha256 {expected['sha256']} expected, is {actual}); "
                f"delete {directory} and run again"
            )
    return directory


def directory_size(directory: Path) -> int:
    """Return the size in bytes of all files below ``directory``."""
    return sum((directory / name).stat().st_size for name in _relative_files(directory))


def _relative_files(directory: Path) -> list[str]:
    files = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in files if name != MANIFEST)
