"""Progress lines: how a step tells whoever reads its log how far it is."""

import json

PREFIX = "progress: "


def report_progress(done: int, total: int, **figures: float) -> None:
    """Print one line such as ``progress: {"done": 40, "total": 120, "loss": 0.31}``."""
    print(PREFIX + json.dumps({"done": done, "total": total, **figures}), flush=True)


def parse_progress(line: str) -> dict[str, float] | None:
    """Return the content of a progress line, or None for any other line."""
    _, found, content = line.partition(PREFIX)
    try:
        return json.loads(content) if found else None
    except ValueError:
        return None
