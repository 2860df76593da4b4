"""Ending a training early: SIGTERM is what a node that is taken away sends, some seconds before SIGKILL."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM  # 143


class Preempted(SystemExit):
    """The training was told to end before it was complete.

    The process ends with code 143: 0 would tell Kubeflow that a half-trained model is the result, and not retry.
    """

    def __init__(self) -> None:
        """End the process with code 143."""
        super().__init__(EXIT_CODE)


class Preemption:
    """Whether the process has been told to end.

    Attributes:
        requested: SIGTERM came.
    """

    requested = False


@contextmanager
def watch_sigterm() -> Iterator[Preemption]:
    """Note SIGTERM instead of dying of it, until the block ends; signals can be watched in the main thread only."""
    preemption = Preemption()
    if threading.current_thread() is not threading.main_thread():
        yield preemption
        return

    def note(*_: Any) -> None:
        preemption.requested = True

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield preemption
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
