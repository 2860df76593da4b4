"""Live progress of a run: which step, for how long, and how far a training is."""

import sys
import time
from dataclasses import dataclass
from typing import TextIO

from kfp_textclf.components.common.progress import parse_progress

PLAIN_INTERVAL_SECONDS = 15.0
BAR_WIDTH = 24


@dataclass
class Step:
    """A step of a run.

    Attributes:
        name: Of its task.
        seconds: How long it took.
        cached: An earlier result was reused.
        status: ``running``, ``done`` or ``failed``.
        candidate: What a sweep tries in it.
    """

    name: str
    seconds: float = 0.0
    cached: bool = False
    status: str = "running"
    candidate: str = ""


class ProgressDisplay:
    """Shows steps as they run: one rewritten line on a terminal, a line now and then elsewhere."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        """Show a run of ``total`` steps at most on ``stream``, standard error when not given."""
        self.total = total
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.started = time.monotonic()
        self._number = 0
        self._last = 0.0

    def start(self, step: Step) -> None:
        """Show that a step begins."""
        self._number += 1
        self._step_started = time.monotonic()
        self._show(self._label(step) + " ...", final=False)

    def line(self, step: Step, line: str) -> None:
        """Show the training bar of a progress line; other lines only move the clock."""
        now = time.monotonic()
        if now - self._last < (0.1 if self.live else PLAIN_INTERVAL_SECONDS):
            return
        progress = parse_progress(line)
        if progress:
            done, total = int(progress.pop("done")), int(progress.pop("total"))
            filled = BAR_WIDTH * done // max(total, 1)
            figures = "  ".join(f"{name} {value:g}" for name, value in progress.items())
            bar = f" [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done}/{total}  {figures}"
            self._show(f"{self._label(step)} {_clock(now - self._step_started)}{bar}", final=False)
        elif self.live:
            self._show(f"{self._label(step)} {_clock(now - self._step_started)}", final=False)

    def end(self, step: Step) -> None:
        """Show how a step ended."""
        how = "reused" if step.cached else _clock(step.seconds)
        self._show(f"{self._label(step)} {step.status if step.status != 'done' else ''} {how}".rstrip(), final=True)

    def _label(self, step: Step) -> str:
        name = f"{step.name} {step.candidate}".rstrip()
        return f"[{self._number}/{self.total}] {_clock(time.monotonic() - self.started)} {name:<18}"

    def _show(self, text: str, *, final: bool) -> None:
        self._last = time.monotonic()
        if self.live:
            self.stream.write("\r\033[K" + text + ("\n" if final else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
