"""The file that rows are staged in: where it spills, and that nothing of it stays."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from stage_inputs import remains

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.staged_rows import staged_rows

ROWS = [(number, f"text {number} " + "x" * 100, f"label {number % 3}") for number in range(20_000)]


def test_it_lies_beside_the_output_and_is_removed(tmp_path: Path) -> None:
    with staged_rows(tmp_path / "it's" / "out", 13) as rows:
        rows.add("train", ROWS)
        assert any("staging" in name for name in remains(tmp_path))
    assert remains(tmp_path) == ["it's"]


def test_it_is_removed_after_an_error_too(tmp_path: Path) -> None:
    def fail() -> None:
        with staged_rows(tmp_path / "out", 13) as rows:
            rows.add("train", ROWS)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert remains(tmp_path) == []


def test_sorting_spills_beside_the_output_and_not_to_tmp(tmp_path: Path) -> None:
    with staged_rows(tmp_path / "out", 13) as rows:
        rows.add("train", ROWS)
        rows._sql.execute("PRAGMA cache_size = 20")
        answer = rows._sql.execute("SELECT text FROM rows ORDER BY key")
        answer.fetchone()
        spilled = [path for path in open_files() if "etilqs" in path]  # SQLite's prefix of temporary files
    assert spilled
    assert all(path.startswith(f"{tmp_path}/.out.staging-") for path in spilled)


def open_files() -> list[str]:
    paths = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            paths.append(os.readlink(f"/proc/self/fd/{number}"))
    return paths


def test_full_disk_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    def fill() -> None:
        with staged_rows(tmp_path / "out", 13) as rows:
            rows._sql.execute("PRAGMA max_page_count = 50")
            rows.add("train", ROWS)

    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path))}: no space left for the rows"):
        fill()
    assert remains(tmp_path) == []


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written .*choose a writable output"):
        staged_rows(tmp_path / "file" / "out", 13).__enter__()
