"""What several test modules share besides fixtures."""

import csv
import hashlib
import json
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

INTENTS = {
    "flight": ("book a flight to {}", "i need to fly to {}", "show flights to {}"),
    "fare": ("what does a ticket to {} cost", "how much is the fare to {}", "price to {} please"),
    "meal": ("is there a meal on the flight to {}", "do you serve food to {}", "which meal on {}"),
}


CITIES = [
    f"{first}{last}"
    for first in ("bo", "den", "dal", "sea", "mia")
    for last in ("ston", "ver", "las", "ttle", "mi", "ton")
]


def tiny_texts() -> list[str]:
    """Return every text that `tiny_rows` can hold."""
    return [template.format(city) for templates in INTENTS.values() for template in templates for city in CITIES]


def tiny_rows(cities: Sequence[str] = CITIES) -> list[tuple[str, str]]:
    """Return (label, text) rows of three intents, nine a city."""
    return [(label, template.format(city)) for city in cities for label, ts in INTENTS.items() for template in ts]


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """Write rows as CSV without a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    return path


def artifact(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files as an artifact with a manifest, as a step would have left it."""
    from kfp_textclf.components.common.artifacts import atomic_directory

    with atomic_directory(directory, "test") as target:
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def read(path: Path) -> dict:
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def step_states(metrics: Mapping) -> list[tuple[str, str]]:
    """Return name and state of each step that a ``metrics.json`` lists."""
    return [(step["name"], step["state"]) for step in metrics["steps"]]


def heed_interruption() -> None:
    """Undo in a new process what a shell does to those that it starts in the background: they ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def md5(content: bytes) -> str:
    """Return the md5 of some bytes."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def run_git(directory: Path, *arguments: str) -> str:
    """Run git and return what it printed."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def one_line_error(done: SimpleNamespace, code: int, *parts: str) -> None:
    """Hold that a command ended with a code and one line that says all of ``parts``."""
    assert "Traceback" not in done.err
    assert done.code == code, done.err
    assert done.last, done.out
    assert done.last[0].startswith("error: ")
    for part in parts:
        assert part in done.last[0]
