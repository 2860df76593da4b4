"""Transfers from files: regular ones alone, through links too."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.transfer import Expected, open_source, transfer

CONTENT = b"flight,to boston\n" * 1000


def expected() -> Expected:
    return Expected(len(CONTENT), hashlib.md5(CONTENT).hexdigest())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


@pytest.mark.parametrize("kind", ["fifo", "device", "directory", "socket"])
def test_only_regular_files_are_read(tmp_path: Path, target: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        socket.socket(socket.AF_UNIX).bind(str(path))
    with pytest.raises(UserError, match=r"cannot be read \("):
        transfer(open_source(path.as_uri()), target, expected())


def test_link_to_the_expected_bytes_is_read(tmp_path: Path, target: Path) -> None:
    """DVC's caches hold links."""
    (tmp_path / "real").write_bytes(CONTENT)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    transfer(open_source((tmp_path / "link").as_uri()), target, expected())
    assert target.read_bytes() == CONTENT
    assert not target.is_symlink()
