"""Objects in a directory (``file://``) or an S3 bucket (``s3://``), by one interface."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kfp_textclf.components.common.artifacts import atomic_file
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import ABSENT, Conflict, NotFound, ObjectStore, Stored, checked_key

__all__ = ["ABSENT", "Conflict", "LocalStore", "NotFound", "ObjectStore", "Stored", "local_path", "open_store"]


def open_store(uri: str, name: str = "store") -> ObjectStore:
    """Return the store at a URI; it need not exist yet.

    Args:
        uri: ``file:///absolute/path`` or ``s3://bucket/prefix``.
        name: The parameter to blame when the URI is malformed.

    Raises:
        UserError: The URI is malformed.
    """
    scheme = uri.partition("://")[0]
    if scheme == "file":
        return LocalStore(local_path(uri, name))
    if scheme == "s3":
        from kfp_textclf.components.common.s3 import S3Store

        return S3Store(uri, name)
    raise UserError(f"{name}={uri!r}: is not of the form file:///absolute/path or s3://bucket/prefix")


def local_path(uri: str, name: str) -> Path:
    """Return the absolute path of a ``file://`` URI; ``name`` is the parameter to blame.

    Raises:
        UserError: The URI has another form.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:  # a malformed host
        parts = urlsplit("")
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc or not path.startswith("/"):
        raise UserError(f"{name}={uri!r}: is not of the form file:///absolute/path")
    if "\0" in path:
        raise UserError(f"{name}={uri!r}: holds a NUL byte, which no path can; correct it")
    return Path(path)


class LocalStore(ObjectStore):
    """Objects as files below a directory; also on a mounted volume that several machines share."""

    def __init__(self, root: Path) -> None:
        """Keep objects below ``root``."""
        self.root = root
        self.uri = root.as_uri()

    def read(self, key: str) -> Stored | None:  # noqa: D102  (as the interface says)
        path = self._path(key)
        with self._translated(key):
            if not path.is_file():
                return None
            content = path.read_bytes()
        return Stored(content, _tag(content))

    def write(self, key: str, content: bytes, expected: str | None = None) -> str:  # noqa: D102
        path = self._path(key)
        with self._translated(key), self._locked():
            if expected is not None:
                current = _tag(path.read_bytes()) if path.is_file() else ABSENT
                if current not in (expected, _tag(content)):
                    raise Conflict(f"{self.uri_of(key)}: was changed by somebody else meanwhile")
            with self._replacing(path) as partial:
                partial.write_bytes(content)
        return _tag(content)

    def upload(self, source: Path, key: str) -> None:  # noqa: D102
        with self._translated(key), self._replacing(self._path(key)) as partial:
            shutil.copyfile(source, partial)

    def download(self, key: str, target: Path) -> None:  # noqa: D102
        path = self._path(key)
        with self._translated(key):
            if not path.is_file():
                raise NotFound(f"{self.uri_of(key)}: does not exist")
            shutil.copyfile(path, target)

    def size(self, key: str) -> int | None:  # noqa: D102
        path = self._path(key)
        with self._translated(key):
            return path.stat().st_size if path.is_file() else None

    def keys(self, prefix: str = "") -> Iterator[str]:  # noqa: D102
        with self._translated(prefix):
            files = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_file())
            names = sorted(path.as_posix() for path in files if not any(part.startswith(".") for part in path.parts))
        return (name for name in names if name.startswith(prefix))

    def delete(self, key: str) -> None:  # noqa: D102
        path = self._path(key)
        with self._translated(key):
            path.unlink(missing_ok=True)
            for parent in path.relative_to(self.root).parents:
                with contextlib.suppress(OSError):  # not empty, or gone already
                    if parent.parts:
                        (self.root / parent).rmdir()

    def uri_of(self, key: str) -> str:  # noqa: D102
        return (self.root / checked_key(key)).as_uri()

    def _path(self, key: str) -> Path:
        path = self.root / checked_key(key)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise UserError(f"{path}: is a link that leaves the store {self.root}; remove it")
        return path

    @contextlib.contextmanager
    def _replacing(self, path: Path) -> Iterator[Path]:
        """Yield a new file beside ``path`` that takes its name when the block ends well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            yield partial
            with partial.open("rb") as file:
                os.fsync(file.fileno())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.root / key}: {error.strerror or error}; check the rights and the free space there"
            ) from error


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
