"""Links and pictures of every Markdown file lead somewhere."""

from pathlib import Path

import pytest
from documents import anchors, links
from support import run_git

from kfp_textclf.pipelines.sources import CHECKOUT

FILES = [CHECKOUT / name for name in run_git(CHECKOUT, "ls-files", "-co", "--exclude-standard").splitlines()]
PAGES = [path for path in FILES if path.suffix == ".md" and path.exists()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_links_lead_to_files_and_headings_that_exist(path: Path):
    for link in links(path):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target in FILES or target.is_dir(), f"{link}: no such file in the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_pictures_are_small():
    assert sum(path.stat().st_size for path in (CHECKOUT / "docs" / "assets").iterdir()) < 1_500_000
