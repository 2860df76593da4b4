"""Texts that mean harm to a page, and Markdown as GitHub's own parser (cmark-gfm) renders it."""

from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options

HOSTILE = (
    "@everyone",
    "@org/team",
    "mail me@example.org",
    "https://evil.example/?a=1",
    "www.evil.example",
    "see #12 and GH-7 and other/repo#9",
    "[text](https://evil.example)",
    "![image](https://evil.example/x.png)",
    "<img src=x onerror=alert(1)>",
    "<!-- hidden",
    "</details></table><script>alert(1)</script>",
    "a | b || c \\| d",
    "`code` ``` fence",
    "```\n# heading\n@user",
    "**bold** _under_ ~~gone~~ $x$",
    "&lt;b&gt; &#64;user",
    ":tada: :+1:",
    "\u202eright to left\u202c",
    "a\u0300\u0301\u0302\u0303\u0304\u0305\u0306\u0307",
    "\U0001f9d1\u200d\U0001f680" * 50,
    "\x00\x1b[31mred\x1b[0m",
    "> quote\n- list\n1. one\n---\n\n    code",
    "\\",
    "",
    "x" * 10_000,
)


class Rendered(HTMLParser):
    """The tags of a page, and its texts inside and outside of code, where GitHub looks for nothing."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.code = 0
        self.prose = ""
        self.all = ""
        options = Options.CMARK_OPT_UNSAFE  # raw HTML passes, so that it would be seen
        self.feed(cmarkgfm.github_flavored_markdown_to_html(markdown, options))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.code += tag in ("code", "pre")

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag in ("code", "pre")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_data(self, data: str) -> None:
        self.all += data
        if not self.code:
            self.prose += data
