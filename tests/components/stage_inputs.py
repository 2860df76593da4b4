"""What the tests of the stages build their inputs from."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import atomic_directory

Row = tuple[str, str]  # label, text

TEMPLATES = {
    "flight": ("book a flight to {}", "i need to fly to {}", "show flights to {}"),
    "fare": ("what does a ticket to {} cost", "how much is the fare to {}", "price to {} please"),
    "meal": ("is there a meal on the flight to {}", "do you serve food to {}", "which meal on {}"),
}
CITIES = [f"{first}{last}" for first in ("bo", "den", "dal", "sea", "mia") for last in ("ston", "ver", "las", "ttle")]


def rows_about(cities: Sequence[str]) -> list[Row]:
    """Return nine rows a city, three of each intent."""
    return [(label, text.format(city)) for city in cities for label, texts in TEMPLATES.items() for text in texts]


def as_csv(rows: Sequence[Sequence[str]], **options: Any) -> bytes:
    """Return rows as the bytes of a CSV file."""
    text = io.StringIO()
    csv.writer(text, **{"lineterminator": "\n", **options}).writerows(rows)
    return text.getvalue().encode()


def artifact(directory: Path, files: Mapping[str, bytes | str]) -> Path:
    """Write files as an artifact with a manifest, as a step would have left it."""
    with atomic_directory(directory, "test") as target:
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def rewritten(source: Path, target: Path, changes: Mapping[str, bytes | str | None]) -> Path:
    """Copy an artifact, replace some of its files (None: leave out), and give the copy a manifest of its own."""
    names = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    kept = {name: (source / name).read_bytes() for name in names if name != "manifest.json"}
    content = {name: data for name, data in {**kept, **changes}.items() if data is not None}
    return artifact(target, content)


def remains(directory: Path) -> list[str]:
    """Return the names of everything below a directory, hidden files included."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))
