"""Commands that are not run are listed with the reason, and checked; blocks hold what they say."""

import os
import re
from pathlib import Path

import pytest
import yaml
from checked_only import NOT_RUN, check
from documents import blocks, commands, documents

from kfp_textclf.pipelines.sources import CHECKOUT


def test_nothing_is_listed_as_not_run_without_need():
    texts = [command.text for path in documents(CHECKOUT) for command in commands(path)]
    unused = [pattern for pattern, _ in NOT_RUN if not any(re.search(pattern, text) for text in texts)]
    assert not unused


def test_a_command_that_is_not_one_is_found(tmp_path: Path):
    (tmp_path / "Makefile").write_text("submit:\n\techo $(HOST)\n")
    for wrong in ("make submitt", "make submit HOOST=x", "kfp-textclf submit --hots x", "kubectl apply -k nowhere"):
        with pytest.raises(AssertionError):
            check(wrong, tmp_path, dict(os.environ))
    check("make submit HOST=x", tmp_path, dict(os.environ))
    check("kfp-textclf submit --host https://x --set train.epochs=2", tmp_path, dict(os.environ))


@pytest.mark.parametrize("path", documents(CHECKOUT), ids=lambda path: path.name)
def test_blocks_have_a_language_and_hold_what_it_says(path: Path, monkeypatch: pytest.MonkeyPatch):
    for block in blocks(path):
        assert block.language, f"{path.name}:{block.line}: a block without a language"
        if block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "python":
            monkeypatch.chdir(CHECKOUT)
            exec(compile(block.text, f"{path.name}:{block.line}", "exec"), {})
