"""Where the pinned bytes of a data set are, and whether they are right."""

import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Table
from kfp_textclf.pipelines.data_versions import dataset_paths, find_store
from kfp_textclf.pipelines.dvc_pins import Pin, find_pin
from kfp_textclf.pipelines.git import Tree, git, last_commit
from kfp_textclf.pipelines.params import load_params
from kfp_textclf.pipelines.pinned_bytes import Damaged, Sources, download, md5_of, object_size, sources_of
from kfp_textclf.pipelines.pins import tree_root

GOOD = {
    "pin": ("committed", "in git"),
    "checkout": ("ok",),
    "cache": ("ok", "missing", "-"),  # it can be filled again from the others
    "remote": ("ok", "-"),
}


@dataclass(frozen=True)
class FileStatus:
    """State of one file of a data set.

    Attributes:
        role: ``train`` or ``test``.
        path: Its path.
        md5: Pinned md5.
        size: Pinned bytes; None where DVC does not note them.
        git_rev: Commit that pinned it.
        pin: ``committed``, ``changed since the commit`` or ``not committed``; of a file that DVC does not know
            ``in git``, ``changed since the commit`` or ``not pinned``.
        checkout: ``ok``, ``modified`` or ``missing``.
        cache: ``ok``, ``missing``, ``wrong size`` or ``damaged``.
        remote: The same; ``-`` without a remote, or for a file that DVC does not know.
    """

    role: str
    path: str
    md5: str
    size: int | None
    git_rev: str
    pin: str
    checkout: str
    cache: str
    remote: str

    @property
    def good(self) -> bool:
        """Whether nothing is to be done."""
        return all(getattr(self, name) in states for name, states in GOOD.items())


@dataclass(frozen=True)
class DataStatus:
    """State of a data set."""

    dataset: str
    remote: str
    files: list[FileStatus]

    @property
    def good(self) -> bool:
        """Whether every file is as it should be."""
        return all(file.good for file in self.files)

    def table(self) -> Table:
        """Return the states as a table."""
        columns = ("file", "path", "md5", "bytes", "git", "pin", "checkout", "cache", "remote")
        rows = [
            (f.role, f.path, f.md5[:12], _bytes(f), f.git_rev[:12], f.pin, f.checkout, f.cache, f.remote)
            for f in self.files
        ]
        note = f"Remote: {self.remote}." if self.remote else "No remote is set up: dvc remote add -d NAME URL."
        return Table(f"Data set {self.dataset}", columns, rows, note)

    def as_dict(self) -> dict[str, object]:
        """Return the states for programs."""
        return {**asdict(self), "good": self.good}


def data_status(params_file: Path, dataset: str = "", remote: str = "", verify: bool = False) -> DataStatus:
    """Look where the pinned bytes of a data set are.

    Args:
        params_file: Parameter file.
        dataset: Name of the data set, or a file; the parameter file's when empty.
        remote: DVC remote, URI or directory; the parameter ``store`` or DVC's default remote when empty.
        verify: Read the bytes in cache and remote, instead of trusting their size.

    Raises:
        UserError: A pin is malformed, or the remote cannot be reached.
    """
    params = load_params(params_file, [f"dataset={dataset}"] if dataset else [])
    root = params_file.resolve().parent
    store = find_store(root, remote or params.store)
    files = []
    for role, path in dataset_paths(params.files(), root).items():
        tree = Tree(tree_root(path))
        sources = sources_of(tree.root, store.uri if store else "")
        pin = sources.resolve(tree, path)
        files.append(_pinned(role, path, pin, tree, sources, verify) if pin else _in_git(role, path, tree))
    name = f"{store.name} ({store.uri})" if store and store.name else store.uri if store else ""
    return DataStatus(params.dataset, name, files)


def _pinned(role: str, path: Path, pin: Pin, tree: Tree, sources: Sources, verify: bool) -> FileStatus:
    if pin.is_directory:
        raise UserError(f"{path}: is a directory; name its files under datasets in params.yaml")
    checkout = "missing" if not path.is_file() else "ok" if md5_of(path) == pin.md5 else "modified"
    cached = sources.cache / pin.key if sources.cache else None
    cache = "-" if not cached else _state(pin, cached.stat().st_size if cached.is_file() else None)
    if verify and cached and cache == "ok" and md5_of(cached) != pin.md5:
        cache = "damaged"
    remote = "-"
    if sources.store:
        remote = _state(pin, object_size(sources.store, pin.key))
        if verify and remote == "ok":
            remote = _verified(sources.store, pin)
    rev = last_commit(tree.root, [pin.source])
    return FileStatus(
        role, os.path.relpath(path), pin.md5, pin.size, rev, _pin_state(tree, pin), checkout, cache, remote
    )


def _in_git(role: str, path: Path, tree: Tree) -> FileStatus:
    """Return the state of a file that DVC does not know, and that git may hold."""
    if not path.is_file():
        return FileStatus(role, os.path.relpath(path), "", None, "", "not pinned", "missing", "-", "-")
    rev = last_commit(tree.root, [path])
    tracked = git(path.parent, "ls-files", "--error-unmatch", "--", str(path)) is not None
    changed = git(path.parent, "diff", "--quiet", "HEAD", "--", str(path)) is None
    pin = "not pinned" if not tracked else "changed since the commit" if changed else "in git"
    return FileStatus(role, os.path.relpath(path), md5_of(path), path.stat().st_size, rev, pin, "ok", "-", "-")


def _pin_state(tree: Tree, pin: Pin) -> str:
    head = git(tree.root, "rev-parse", "--verify", "--quiet", "HEAD")
    if not head:
        return "not committed"
    committed = find_pin(Tree(tree.root, head.decode().strip()), pin.path)
    if not committed:
        return "not committed"
    now = find_pin(tree, pin.path)
    return "committed" if now and committed.md5 == now.md5 else "changed since the commit"


def _bytes(file: FileStatus) -> int | str:
    return "" if file.size is None else file.size


def _state(pin: Pin, size: int | None) -> str:
    if size is None:
        return "missing"
    return "ok" if pin.size in (None, size) else "wrong size"


def _verified(store: str, pin: Pin) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            download(store, pin, Path(scratch) / "object")
        except Damaged:
            return "damaged"
    return "ok"
