"""Read one object into a file: in parts at once, resumed where a connection broke, hashed as it arrives."""

import hashlib
import mmap
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.sources import Answer, Interrupted, Source, closed

CHUNK = 256 << 10  # bytes read at once: they stay in the processor's cache until they are written
WINDOW = 4 << 20  # bytes hashed at once: hashing must not wait for the interpreter, which readers hold, too often
PART = 8 * WINDOW
CONNECTIONS = 4
AHEAD = 6  # parts that may be here or on their way without being hashed: hashing gets its share of the processor
ATTEMPTS = 6  # in a row that bring less than a chunk
MAPPED = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # Linux alone has it
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds between attempts; doubled each time

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Received:
    """What arrived: bytes, lines and hexadecimal md5."""

    size: int
    lines: int
    md5: str


class TooLong(Exception):
    """The object is longer than the limit; the message says how long it is."""


class _Stopped(Exception):
    pass


@dataclass
class _Part:
    """Bytes that are here up to ``position``, and wanted up to ``stop`` (None: wherever the source ends)."""

    position: int
    stop: int | None
    lines: int = 0
    failures: int = 0
    done: bool = False


class Reading:
    """One attempt at a whole object: workers write its parts, the caller hashes what lies there in a row."""

    def __init__(self, source: Source, file: int, limit: int | None, report: Report | None) -> None:
        """Prepare to read.

        Args:
            source: The object.
            file: Descriptor of an empty file to write and read.
            limit: Bytes after which reading stops.
            report: Called with bytes done and in all after every window.
        """
        self.source, self.file, self.limit, self.report = source, file, limit, report
        self.tag = ""
        self.size: int | None = None
        self.error: BaseException | None = None
        self.stopped = threading.Event()
        self.moved = threading.Condition()

    def run(self) -> Received:
        """Read it all.

        Raises:
            TooLong: It is longer than the limit.
            Conflict: It was replaced meanwhile.
            UserError: It cannot be read.
            OSError: The file cannot be written.
        """
        first = _Part(0, PART)
        answer = self._opened(first)
        self.tag, self.size = answer.tag, answer.size
        if self.limit is not None and (self.size or 0) > self.limit:
            closed(answer)
            raise TooLong(f"{self.size} bytes")
        first.stop, parts = self.size, [first]
        if answer.in_parts and self.size is not None:
            first.stop = min(PART, self.size)
            parts += [_Part(start, min(start + PART, self.size)) for start in range(PART, self.size, PART)]
        with ThreadPoolExecutor(min(CONNECTIONS, len(parts)), "transfer") as workers:
            try:
                workers.submit(self._work, first, answer)
                for part in parts[1:AHEAD]:
                    workers.submit(self._work, part)
                return self._received(parts, lambda part: workers.submit(self._work, part))
            finally:
                self.stopped.set()
                with self.moved:
                    self.moved.notify_all()
                workers.shutdown(wait=False, cancel_futures=True)

    def _work(self, part: _Part, answer: Answer | None = None) -> None:
        try:
            if not self.stopped.is_set():
                self._fetch(part, answer or self._opened(part))
        except BaseException as error:  # raised again where the caller waits
            self.error = self.error or error
            self.stopped.set()
        finally:
            with self.moved:
                self.moved.notify_all()

    def _fetch(self, part: _Part, answer: Answer) -> None:
        while True:
            begin, reason = part.position, "the connection ended early"
            try:
                part.done = self._copy(part, answer)
            except Interrupted as error:
                reason = str(error)
            finally:
                closed(answer)
            if part.done:
                return
            part.failures = 0 if part.position - begin >= CHUNK else part.failures
            self._pause(part, f"{reason} at byte {part.position} of {self.size or 'unknown'}")
            answer = self._opened(part)

    def _opened(self, part: _Part) -> Answer:
        while True:
            try:
                return self.source.open(part.position, part.stop, self.tag)
            except Interrupted as error:
                self._pause(part, str(error), error.wait)

    def _pause(self, part: _Part, reason: str, at_least: float = 0.0) -> None:
        part.failures += 1
        if part.failures >= ATTEMPTS:
            raise UserError(f"{self.source.uri} cannot be read ({reason}); check the store and the network")
        wait = min(FIRST_WAIT * 2 ** (part.failures - 1), LONGEST_WAIT) * random.uniform(0.5, 1)  # noqa: S311
        if self.stopped.wait(max(wait, at_least)):
            raise _Stopped

    def _copy(self, part: _Part, answer: Answer) -> bool:
        """Write what arrives; return whether the part is complete."""
        here = answer.start  # before the position when the server knows no ranges: those bytes are there already
        while part.stop is None or part.position < part.stop:
            wanted = CHUNK if part.stop is None else min(CHUNK, part.stop - here)
            try:
                chunk = answer.body.read(wanted)
            except self.source.interruptions as error:
                raise Interrupted(str(error)) from error
            if not chunk:
                return part.stop is None
            here += len(chunk)
            fresh = memoryview(chunk)[max(0, len(chunk) - max(0, here - part.position)) :]
            windows = part.position // WINDOW
            while fresh:
                written = os.pwrite(self.file, fresh, part.position)
                part.lines += int(np.count_nonzero(np.frombuffer(fresh[:written], np.uint8) == ord("\n")))
                part.position += written
                fresh = fresh[written:]
            if self.limit is not None and part.position > self.limit:
                raise TooLong(f"over {self.limit} bytes")
            if self.stopped.is_set():
                raise _Stopped
            if part.position // WINDOW > windows:
                with self.moved:
                    self.moved.notify_all()
        return True

    def _received(self, parts: list[_Part], submit: Callable[[_Part], object]) -> Received:
        """Hash the parts in their order, each byte as soon as all before it are there; submit those that come later."""
        md5, offset = hashlib.md5(usedforsecurity=False), 0
        later = iter(parts[AHEAD:])
        for part in parts:
            while (there := self._beyond(part, offset)) > offset:
                with mmap.mmap(self.file, there - offset, flags=MAPPED, prot=mmap.PROT_READ, offset=offset) as window:
                    md5.update(window)
                offset = there
                if self.report:
                    self.report(offset, self.size or offset)
            for following in islice(later, 1):
                submit(following)
        return Received(offset, int(sum(part.lines for part in parts)), md5.hexdigest())

    def _beyond(self, part: _Part, offset: int) -> int:
        """Return the end of the next bytes to hash, as soon as they are there: of a window, or of the part."""
        with self.moved:
            self.moved.wait_for(lambda: self.stopped.is_set() or part.done or part.position >= offset + WINDOW)
        if self.stopped.is_set():
            raise self.error or _Stopped
        return min(part.position, offset + WINDOW)
