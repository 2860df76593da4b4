"""Texts of others in GitHub's Markdown: shown as they are, and nothing else.

Markup is written as character references, which Markdown never takes as markup, and which mean the same in a table, in
a heading and inside HTML. What GitHub looks for in the finished text (mentions, references to issues, addresses) is
broken by an invisible word joiner, for there a reference is as good as the character itself.
"""

import re
from collections.abc import Sequence
from unicodedata import category, normalize

LONGEST = 300  # characters of a text
MARKS = 4  # combining marks on one letter: enough for every script, not for towers of them
JOINER = "\u2060"
_REFERENCES = {ord(character): f"&#{ord(character)};" for character in "\\`*[]<>|~&$"}
_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # inside a word it is no markup
_LIVE = re.compile(
    r"@|#(?=\d)|GH-(?=\d)|(?:(?<=http)|(?<=https)|(?<=ftp)):(?=//)|www(?=\.)|:(?=[\w+-]+:)", re.IGNORECASE
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def inline(value: object, longest: int = LONGEST) -> str:
    """Return a text for a line of Markdown, a table cell or the content of an HTML element.

    Args:
        value: The text, of any content.
        longest: Characters that are shown; what is longer ends with an ellipsis.
    """
    line = " ".join(visible(str(value), 2 * longest).split())
    line = line if len(line) <= longest else f"{line[: longest - 1]}…"
    text = _LIVE.sub(lambda found: found[0] + JOINER, line)
    return _UNDERSCORE.sub("&#95;", text.translate(_REFERENCES))


def visible(text: str, longest: int) -> str:
    """Return a text on one line, without control characters and characters that only act on others."""
    kept, marks = [], 0
    for character in normalize("NFC", text[: 8 * longest]):
        kind = category(character)
        marks = marks + 1 if kind.startswith("M") else 0
        if kind in ("Cc", "Zl", "Zp"):
            kept.append(" ")
        elif kind in ("Cs", "Co", "Cn"):
            kept.append("\ufffd")
        elif kind != "Cf" and marks <= MARKS:
            kept.append(character)
    line = "".join(kept).rstrip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def log_lines(text: str, longest: int = LONGEST) -> list[str]:
    """Return the lines of a log as a terminal would have left them, without colours and empty lines."""
    shown = (
        visible(line.rsplit("\r", 1)[-1], longest) for line in _ANSI.sub("", text).replace("\r\n", "\n").split("\n")
    )
    return [line for line in shown if line]


def fenced(code: str | Sequence[str], language: str = "text") -> str:
    """Return a block of code, of a text or of lines, whose content cannot end it."""
    text = code if isinstance(code, str) else "\n".join(code)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def link(url: str, name: str) -> str:
    """Return a link to a web page; whatever else the URL is, it is shown as text."""
    if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d+)?(/[\w\-./~%:@!$&'*+,;=?#]*)?", url, re.ASCII):
        return f"{inline(name)}: {inline(url)}"
    return f"[{inline(name)}]({url.translate({ord('*'): '%2A', ord('_'): '%5F', ord('~'): '%7E'})})"
