"""A small git and DVC checkout for the tests of ``data/fetch_atis.py``, and what must be true of it."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "data" / "fetch_atis.py"
FULL = (
    b"atis_flight, i want to fly\n"
    b"atis_flight#atis_airfare, flights and fares\n"
    b"atis_flight_no, flight number\n"
    b"atis_airfare, cheapest fare\n"
    b"atis_city, where is atis_flight\n"
    b"atis_flight_time, when\n"
    b"atis_flight, i want to fly\n"
)
TRAIN = b"atis_flight, i want to fly\natis_airfare, cheapest fare\natis_flight_time, when\natis_flight, i want to fly\n"
TEST = b"atis_quantity, how many\n"
FILES = {"atis_intents.csv": FULL, "atis_intents_test.csv": TEST, "atis_intents_train.csv": TRAIN}


def md5_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def object_path(store: Path, content: bytes) -> Path:
    md5 = md5_of(content)
    return store / "files" / "md5" / md5[:2] / md5[2:]


def execute(folder: Path, *command: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False, timeout=120
    )


def dvc(folder: Path, *args: str) -> str:
    done = execute(folder, sys.executable, "-m", "dvc", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def git(folder: Path, *args: str) -> str:
    done = execute(folder, "git", "-c", "user.name=test", "-c", "user.email=test@localhost", *args)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def csv_files(checkout: Path) -> dict[str, bytes]:
    """Everything in the data folder that git does not know: the data files, and leftovers if there were any."""
    known = set(git(checkout, "ls-files", "data/atis").splitlines())
    folder = checkout / "data" / "atis"
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.relative_to(checkout).as_posix() not in known}


def assert_refused(done: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    """Exit code 2 and one line ``error: what, where, how to fix`` that holds every part."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert re.fullmatch(r"error: [^\n]+; [^\n]+\n", done.stderr)
    for part in parts:
        assert part in done.stderr


def assert_complete(checkout: Path) -> None:
    """All files right, DVC and git content, no configuration touched."""
    assert csv_files(checkout) == FILES
    assert dvc(checkout, "status") == "Data and pipelines are up to date."
    assert git(checkout, "status", "--porcelain") == ""
    assert not (checkout / ".dvc" / "config.local").exists()
