"""Where the bytes of one object can be read from, from any offset: files, http(s) servers, S3 buckets."""

import errno
import os
import stat
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import NamedTuple, Protocol

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import local_path
from kfp_textclf.components.common.objects import NotFound


class Body(Protocol):
    """Bytes that arrive one after another."""

    def read(self, amount: int, /) -> bytes | None:
        """Return the next bytes, ``amount`` at most, and none at the end."""
        ...

    def close(self) -> None:
        """Let the connection or file go."""
        ...


class Answer(NamedTuple):
    """What a source answers to a request for some of its bytes.

    Attributes:
        body: The bytes.
        start: Offset of the first of them; 0 from a server that knows no ranges, whatever was asked for.
        size: Bytes of the whole object, None when the server does not say.
        tag: Changes with the object; empty when the server has none.
        in_parts: Whether the server gave just the part that was asked for.
    """

    body: Body
    start: int
    size: int | None
    tag: str
    in_parts: bool


class Interrupted(Exception):
    """The source could not answer now; it may do so later.

    Attributes:
        wait: Seconds after which the source wants to be asked again.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.wait = wait


class Source(ABC):
    """One object.

    Attributes:
        uri: Its name in messages.
        interruptions: What reading a body raises when the connection breaks.
    """

    uri: str
    interruptions: tuple[type[Exception], ...] = (OSError,)

    @abstractmethod
    def open(self, start: int, stop: int | None, tag: str) -> Answer:
        """Ask for bytes.

        Args:
            start: Offset of the first byte wanted.
            stop: Offset after the last byte wanted, None for the end.
            tag: What the object's tag must be; empty if that does not matter.

        Raises:
            Interrupted: It may go better the next time.
            Conflict: The object has another tag.
            NotFound: There is no such object.
            UserError: The source refuses.
        """


class FileSource(Source):
    """A regular file, or a link to one."""

    def __init__(self, uri: str) -> None:
        """Name a file; nothing is read yet.

        Raises:
            UserError: The URI is malformed.
        """
        self.uri = uri
        self.path = local_path(uri, "uri")

    def open(self, start: int, stop: int | None, tag: str) -> Answer:  # noqa: D102
        try:
            # Without O_NONBLOCK a pipe would wait for a writer here.
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise NotFound(f"{self.uri} does not exist; fetch the data first (dvc pull; make data for ATIS)") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{self.uri} cannot be read ({reason}); check its rights") from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            os.close(handle)
            reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "Not a regular file"
            raise UserError(f"{self.uri} cannot be read ({reason}); name a file")
        os.lseek(handle, start, os.SEEK_SET)
        return Answer(open(handle, "rb", buffering=0), start, status.st_size, "", in_parts=False)


def closed(answer: Answer) -> None:
    """Let an answer go; whatever happens to its connection no longer matters."""
    with suppress(Exception):
        answer.body.close()
