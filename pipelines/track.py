"""``kfp-textclf track``: what was tracked offline is sent to Weights & Biases later."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.tracking_environment import without_secrets

_URL = re.compile(r"View run .* at (\S+)")
_REFUSED = re.compile(r"Error: (.*(?:API key|WANDB_API_KEY).*)")


class SyncFailed(Exception):
    """A run could not be sent; the message says why, and what is left."""


def sync(places: Sequence[Path], seconds: float = 120) -> None:
    """Send offline runs to W&B, one printed line each; those sent before are left out.

    Args:
        places: Directories of W&B runs, or directories that hold some; ``$WANDB_DIR`` is searched too.
        seconds: The longest that sending one run may take.

    Raises:
        UserError: ``wandb`` or a usable API key is missing.
        SyncFailed: A run could not be sent; those after it were not tried.
    """
    left = offline_runs([*places, *(Path(place) for place in [os.environ.get("WANDB_DIR", "")] if place)])
    if not left:
        print(f"nothing to send below {', '.join(map(str, places))}")
        return
    if importlib.util.find_spec("wandb") is None:
        raise UserError(f"wandb is not installed; pip install 'kfp-textclf[track]'; {_left(left)}")
    for number, directory in enumerate(left):
        url, problem, refused = _send(directory, seconds)
        if refused:
            raise UserError(f"{problem}; set WANDB_API_KEY or run wandb login; {_left(left[number:])}")
        if problem:
            raise SyncFailed(f"{directory}: {problem}; {_left(left[number:])}")
        print(f"{directory}: {url or 'sent'}", flush=True)


def offline_runs(places: Iterable[Path]) -> list[Path]:
    """Return the directories of W&B runs below some places, oldest first, that were not sent yet.

    A place that is such a directory itself counts even when it was tracked online, for one that was cut short.

    Raises:
        UserError: A place does not exist.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.is_dir():
            raise UserError(f"{place}: is no directory; name the directory of runs, or of one W&B run")
        logs = [*place.glob("run-*.wandb")] or sorted(place.rglob("offline-run-*/run-*.wandb"), key=_age)
        for log in logs:
            if not log.with_name(f"{log.name}.synced").exists():
                found[log.parent.resolve()] = None
    return list(found)


def _age(log: Path) -> tuple[str, str]:
    return log.parent.name, str(log)


def _left(directories: Sequence[Path]) -> str:
    return (
        f"{len(directories)} offline {'run is' if len(directories) == 1 else 'runs are'} left, first {directories[0]}"
    )


def _send(directory: Path, seconds: float) -> tuple[str, str, bool]:
    """Return the page of a run that was sent, else what is wrong, and whether that is the API key."""
    environment = {
        **os.environ,
        "WANDB_DIR": str(directory.parent.parent),  # where wandb puts the log of this command
        "OTEL_SDK_DISABLED": "true",
        "WANDB_ERROR_REPORTING": "false",
    }
    environment.pop("WANDB_MODE", None)  # offline sends nothing
    command = [sys.executable, "-m", "wandb", "sync", str(directory)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"was not sent within {seconds:g} s; is there a way from here to W&B?", False
    output = without_secrets(done.stdout)
    if done.returncode == 0 and any(directory.glob("*.synced")):
        url = _URL.search(output)
        return (url[1] if url else ""), "", False
    if refused := _REFUSED.search(output):
        return "", refused[1].split(". Use ")[0], True
    lines = [line for line in output.splitlines() if line.strip()]
    return "", lines[-1] if lines else f"wandb sync ended with exit code {done.returncode}", False
