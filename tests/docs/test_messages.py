"""Messages that the troubleshooting page quotes are those of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kfp_textclf.pipelines.sources import CHECKOUT

PAGE = CHECKOUT / "docs" / "troubleshooting.md"
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
OPEN = "…"


def texts(path: Path) -> Iterator[str]:
    """Yield every text of a module, with … for what is put into it."""
    inner = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            inner.update(map(id, node.values))
            parts = (str(part.value) if isinstance(part, ast.Constant) else OPEN for part in node.values)
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.value


@pytest.fixture(scope="module")
def sources() -> list[str]:
    modules = [path for folder in ("components", "pipelines") for path in sorted((CHECKOUT / folder).rglob("*.py"))]
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    return [text for module in modules for text in texts(module)] + [makefile]


def found(message: str, sources: list[str]) -> bool:
    pattern = re.compile(".*".join(map(re.escape, message.split(OPEN))), re.DOTALL)
    return any(pattern.search(text) for text in sources)


@pytest.mark.parametrize("message", QUOTED)
def test_a_quoted_message_is_in_the_code(message: str, sources: list[str]):
    assert found(message, sources)


def test_a_message_that_changed_is_noticed(sources: list[str]):
    assert len(QUOTED) > 30
    assert not found("no server: set --hots", sources)
