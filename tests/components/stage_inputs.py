"""What the tests of the stages build their inputs from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support import artifact

CITIES = [f"{first}{last}" for first in ("bo", "den", "dal", "sea", "mia") for last in ("ston", "ver", "las", "ttle")]


def as_csv(rows: Sequence[Sequence[str]], **options: Any) -> bytes:
    """Return rows as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **options}).writerows(rows)
    return text.getvalue().encode()


def rewritten(source: Path, target: Path, changes: Mapping[str, bytes | str | None]) -> Path:
    """Copy an artifact, replace some of its files (None: leave out), and give the copy a manifest of its own."""
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    kept = {name: (source / name).read_bytes() for name in names if name != "manifest.json"}
    content = {name: data for name, data in {**kept, **changes}.items() if data is not None}
    return artifact(target, content)


def remains(directory: Path) -> list[str]:
    """Return the names of everything below a directory, hidden files included."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))
