"""What the documentation tells people to type, and where it points."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^ *```(\w*)\s*$")
_LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)|src(?:set)?=\"([^\"]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: its file, the line of its first line, its language and its text."""

    path: Path
    line: int
    language: str
    text: str

    def commands(self) -> list["Command"]:
        """Return the commands of a shell block; one that goes on with a backslash is one."""
        found, start, parts = [], self.line, []
        for number, line in enumerate(self.text.splitlines(), start=self.line):
            start = start if parts else number
            parts.append(line)
            if not line.endswith("\\"):
                text = "\n".join(parts)
                parts = []
                if text.strip() and not text.lstrip().startswith("#"):
                    found.append(Command(self.path, start, text.strip()))
        return found


@dataclass(frozen=True)
class Command:
    """A command that a reader is told to type."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        """Return where it stands, and what it is."""
        return f"{self.path.name}:{self.line}: {self.text}"


def documents(root: Path) -> list[Path]:
    """Return what a reader reads: README.md, docs/*.md and manifests/README.md."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), root / "manifests" / "README.md"]


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a Markdown file."""
    language, start, lines = None, 0, []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = _FENCE.match(line)
        if language is None and fence:
            language, start, lines = fence[1], number + 1, []
        elif fence:
            yield Block(path, start, language or "", "\n".join(lines))
            language = None
        elif language is not None:
            lines.append(line)
    assert language is None, f"{path}:{start}: a block that is not closed"


def commands(path: Path) -> list[Command]:
    """Return the commands of a Markdown file, in order."""
    return [command for block in blocks(path) if block.language == "sh" for command in block.commands()]


def links(path: Path) -> list[str]:
    """Return the targets of all links and pictures outside of fenced blocks."""
    prose, fenced = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        fenced ^= bool(_FENCE.match(line))
        prose.append("" if fenced else line)
    return [first or second for first, second in _LINK.findall("\n".join(prose))]


def anchors(path: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a Markdown file."""
    found = _HEADING.findall(path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}
