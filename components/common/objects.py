"""What a store of objects by key can do.

A small object is replaced by compare-and-swap: ``read`` gives its tag, ``write`` takes the tag that it must still have.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from kfp_textclf.components.common.errors import UserError

ABSENT = ""  # the tag of an object that does not exist


class Stored(NamedTuple):
    """Content of an object, and a tag that changes with it."""

    content: bytes
    tag: str


class NotFound(UserError):
    """There is no such object."""


class Conflict(UserError):
    """An object is no longer, or not yet, what it was expected to be."""


class ObjectStore(ABC):
    """Objects below one URI. Keys are relative paths such as ``versions/1/model.onnx``.

    Every method raises `UserError` for a malformed key, and when the store refuses or cannot be reached.
    """

    uri: str

    @abstractmethod
    def read(self, key: str) -> Stored | None:
        """Return a small object, or None when there is none."""

    @abstractmethod
    def write(self, key: str, content: bytes, expected: str | None = None) -> str:
        """Write a small object as a whole and return its tag.

        Args:
            key: Its key.
            content: Its content.
            expected: Tag that the object must have now, ``ABSENT`` if it must not exist, None if that does not matter.

        Raises:
            Conflict: The object is not the expected one; it stays as it is.
        """

    @abstractmethod
    def upload(self, source: Path, key: str) -> None:
        """Store a file."""

    @abstractmethod
    def download(self, key: str, target: Path) -> None:
        """Write an object to a file.

        Raises:
            NotFound: There is no such object.
        """

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Return the bytes of an object, or None when there is none."""

    @abstractmethod
    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with ``prefix``, sorted."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    @abstractmethod
    def uri_of(self, key: str) -> str:
        """Return the URI of an object."""


def checked_key(key: str) -> str:
    """Return ``key`` if it is a plain relative path.

    Raises:
        UserError: It is absolute, empty, or would leave the store.
    """
    path = PurePosixPath(key)
    if not path.parts or path.is_absolute() or ".." in path.parts or key != str(path) or "\\" in key or "\0" in key:
        raise UserError(f"key {key!r}: is not a plain relative path")
    return key
