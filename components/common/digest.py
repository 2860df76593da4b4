"""What is known of bytes that pass by: how many, how many lines, their hashes."""

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Received:
    """What arrived: bytes, lines and hexadecimal hashes."""

    size: int
    lines: int
    md5: str
    sha256: str


class Digest:
    """Hashes of what it was given so far.

    Attributes:
        size: Bytes so far.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.size = self._lines = 0
        self._md5, self._sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()

    def update(self, chunk: memoryview) -> None:
        """Add bytes."""
        self._md5.update(chunk)
        self._sha256.update(chunk)
        self._lines += int(np.count_nonzero(np.frombuffer(chunk, np.uint8) == ord("\n")))  # twice as fast as count()
        self.size += len(chunk)

    def received(self) -> Received:
        """Return what is known by now."""
        return Received(self.size, self._lines, self._md5.hexdigest(), self._sha256.hexdigest())
