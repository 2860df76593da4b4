"""Asking git about the checkout."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kfp_textclf.components.common.errors import UserError


def git(directory: Path, *arguments: str, output: IO[bytes] | int = subprocess.PIPE) -> bytes | None:
    """Run a git command that only reads.

    Args:
        directory: Where it runs; the nearest directory above it that exists, if it does not.
        *arguments: Arguments of git.
        output: Where its output goes instead of into the answer.

    Returns:
        What it printed, or None when it failed: no git, no repository, no such thing.
    """
    directory = next(folder for folder in (directory, *directory.parents) if folder.is_dir())
    command = ["git", "-C", str(directory), *arguments]
    try:
        return subprocess.run(command, stdout=output, stderr=subprocess.DEVNULL, check=True).stdout or b""  # noqa: S603
    except (OSError, ValueError, subprocess.CalledProcessError):  # ValueError: a NUL in an argument
        return None


@dataclass(frozen=True)
class Tree:
    """The files of a checkout as they are, or as a commit has them.

    Attributes:
        root: A directory of the checkout; every path asked for lies below it.
        commit: Full name of the commit; the working tree when empty.
    """

    root: Path
    commit: str = ""

    @classmethod
    def at(cls, root: Path, rev: str) -> "Tree":
        """Return the tree of a revision such as ``v1.0`` or ``main~2``; the working tree when it is empty.

        Raises:
            UserError: There is no such revision.
        """
        if not rev:
            return cls(root)
        commit = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{rev}^{{commit}}")
        if not commit:
            raise UserError(f"{rev}: is no revision of the git repository of {root}; see git log")
        return cls(root, commit.decode().strip())

    def read(self, path: Path) -> bytes | None:
        """Return the content of a small file, or None when there is none."""
        if self.commit:
            return git(self.root, "cat-file", "blob", self._object(path))
        try:
            return path.read_bytes() if path.is_file() else None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check its rights") from error

    def extract(self, path: Path, target: Path) -> bool:
        """Write a file of a commit to ``target``; return whether there is one."""
        with target.open("wb") as file:
            return git(self.root, "cat-file", "blob", self._object(path), output=file) is not None

    def _object(self, path: Path) -> str:
        return f"{self.commit}:./{path.relative_to(self.root).as_posix()}"


def last_commit(root: Path, paths: Iterable[Path], commit: str = "", text: str = "") -> str:
    """Return the newest commit that changed any of the files, or an empty string when there is none.

    Args:
        root: A directory of the checkout.
        paths: The files.
        commit: Where to start from; HEAD when empty.
        text: Only commits that added or removed this text.
    """
    picked = [f"-S{text}"] if text else []
    found = git(root, "log", "-1", "--format=%H", *picked, commit or "HEAD", "--", *map(str, paths))
    return (found or b"").decode().strip()
