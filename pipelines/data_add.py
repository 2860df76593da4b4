"""Pinning a new version of data files: checked, added, pushed, read back; or nothing is changed."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block
from kfp_textclf.components.prepare.readers import READABLE, Columns
from kfp_textclf.pipelines.data_changes import FileChanges, compare_files
from kfp_textclf.pipelines.data_changes_report import change_blocks
from kfp_textclf.pipelines.data_versions import columns_of
from kfp_textclf.pipelines.dvc_pins import Pin, find_pin
from kfp_textclf.pipelines.dvc_remotes import Remote, default_remote, dvc_root, read_remotes, resolve_store
from kfp_textclf.pipelines.git import Tree, git
from kfp_textclf.pipelines.params import load_params
from kfp_textclf.pipelines.pinned_bytes import Damaged, Sources, download, md5_of, sources_of
from kfp_textclf.pipelines.pins import absolute

UNCHANGED = "nothing was changed here"


@dataclass(frozen=True)
class Added:
    """What was pinned.

    Attributes:
        pins: New pin of each file or directory.
        changes: What changed in each file of texts since the version that was pinned before.
        unknown: Files whose earlier version could not be had, with the reason.
        commit: Files to commit.
        remote: Where the bytes were pushed to, and verified; empty when they were not.
    """

    pins: list[Pin]
    changes: dict[str, FileChanges]
    unknown: dict[str, str]
    commit: list[Path]
    remote: str


def add_version(targets: Sequence[Path], params_file: Path, remote: str = "", push: bool = True) -> Added:
    """Pin files or directories as they are now, push them, and read back what was pushed.

    Args:
        targets: Files that can be read as texts and labels, or directories with such files.
        params_file: Parameter file; it says where text and label stand.
        remote: Name of the DVC remote; its default one when empty.
        push: Whether to push; otherwise only this machine has the new version.

    Raises:
        UserError: A file is unusable, DVC refuses it, or the remote does not have the right bytes afterwards. The pins
            are then as they were.
    """
    columns = columns_of(load_params(params_file))
    paths = [absolute(target) for target in targets]
    root = _repository(paths)
    store = _remote(root, remote) if push else None
    content = {path: _readable_files(path) for path in paths}
    files = [file for found in content.values() for file in found]
    read = {file: md5_of(file) for file in files}
    now = {file: _compare(None, file, columns) for file in files}
    tree = Tree(root)
    sources = sources_of(root, store.uri if store else "")
    before = {file: _pinned_before(tree, sources, file) for file in files}
    with _restored(root, paths) as pin_files:
        run_dvc(root, "add", *map(str, paths), fix=UNCHANGED)
        pins = [_new_pin(tree, path) for path in paths]
        for file, md5 in read.items():
            pin = sources.resolve(tree, file)
            if not pin or pin.md5 != md5:
                raise UserError(f"{file}: was changed while it was added; run the same command again")
        if store:
            _push(root, store, sources, pins)
    changes, unknown = {}, {}
    for file in files:
        name = os.path.relpath(file)
        try:
            changes[name] = _since(before[file], sources, file, columns) or now[file]
        except UserError as error:
            changes[name], unknown[name] = now[file], str(error)
    return Added(pins, changes, unknown, [path for path in pin_files if path.is_file()], store.uri if store else "")


def show_added(added: Added) -> None:
    """Print what was pinned, what changed, and what to commit."""
    from kfp_textclf.pipelines.terminal import plain, print_blocks

    blocks: list[Block] = change_blocks(added.changes)
    print_blocks(blocks)
    for name, reason in added.unknown.items():
        print(plain(f"{name}: not compared with the version before ({reason})"))
    for pin in added.pins:
        where = f"pushed to {added.remote}, and read back" if added.remote else "not pushed: only this machine has it"
        print(plain(f"{os.path.relpath(pin.path)}: md5 {pin.md5}, {where}"))
    print(plain(f"commit it: git add {' '.join(os.path.relpath(path) for path in added.commit)}"))


def run_dvc(root: Path, *arguments: str, fix: str) -> str:
    """Run a DVC command and return what it printed.

    Raises:
        UserError: DVC is not there, or refuses; with its own reason and ``fix``.
    """
    command = [sys.executable, "-P", "-m", "dvc", *arguments]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(  # noqa: S603
        command, cwd=root, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
        reason = (errors or lines[-1:] or ["failed"])[0].rstrip(".")
        if "already tracked by SCM" in reason:
            fix = f"let git forget it first: git rm -r --cached, then git commit; {fix}"
        if "No module named dvc" in reason:
            raise UserError("dvc: is not installed; pip install 'kfp-textclf[dvc]'")
        raise UserError(f"dvc {arguments[0]}: {reason}; {fix}")
    return done.stdout


def _repository(paths: Sequence[Path]) -> Path:
    """Return the DVC repository that holds all of the files."""
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: does not exist; give the path of a file or directory")
        if path.is_symlink() and not dvc_root(path.resolve()):
            raise UserError(f"{path}: is a link; give the path of the file itself")
    roots = {dvc_root(path.parent) for path in paths}
    root = roots.pop() if len(roots) == 1 else None
    if not root:
        raise UserError(f"{paths[0]}: is in no DVC repository, or not in the same as the others; run dvc init")
    return root


def _remote(root: Path, name: str) -> Remote:
    remotes = read_remotes(root)
    if name and name not in remotes:
        known = ", ".join(remotes) or "none"
        raise UserError(f"--remote {name}: is no DVC remote ({known}); make it: dvc remote add {name} URL")
    remote = resolve_store(name, root) if name else default_remote(root)
    if not remote:
        known = ", ".join(remotes) or "none"
        raise UserError(f"no default DVC remote; name one of {known} by --remote, or pass --no-push")
    remote.use_options()
    return remote


def _readable_files(path: Path) -> list[Path]:
    """Return the files of texts among what is added."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in READABLE and file.is_file())
    if not found:
        raise UserError(f"{path}: holds no file of texts ({', '.join(READABLE)}); give one that does")
    return found


def _compare(old: Path | None, new: Path, columns: Columns) -> FileChanges:
    changes = compare_files(old, new, columns, examples=3 if old else 0)
    if not changes.new.rows:
        raise UserError(f"{new.name}: has no row with text and label; see text_column and label_column in params.yaml")
    return changes


def _pinned_before(tree: Tree, sources: Sources, path: Path) -> Pin | UserError | None:
    """Return the pin of the last commit, else of the checkout; or why it cannot be had."""
    head = git(tree.root, "rev-parse", "--verify", "--quiet", "HEAD")
    committed = Tree(tree.root, head.decode().strip()) if head else tree
    try:
        return sources.resolve(committed, path) or sources.resolve(tree, path)
    except UserError as error:
        return error


def _since(before: Pin | UserError | None, sources: Sources, path: Path, columns: Columns) -> FileChanges | None:
    """Return what changed since an earlier pin; None when there is none."""
    if isinstance(before, UserError):
        raise before
    if not before:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return _compare(sources.fetch(before, Path(scratch)), path, columns)


def _new_pin(tree: Tree, path: Path) -> Pin:
    pin = find_pin(tree, path)
    if not pin:
        raise UserError(f"{path}: DVC wrote no pin for it; see dvc status")
    return pin


def _push(root: Path, store: Remote, sources: Sources, pins: Sequence[Pin]) -> None:
    """Push what was pinned, and compare what the remote has then; DVC itself does not."""
    again = f"{UNCHANGED}: repair it and run the same command again"
    run_dvc(root, "push", "--remote", store.name, *(str(pin.source) for pin in pins), fix=again)
    with tempfile.TemporaryDirectory() as scratch:
        for pin in pins:
            for pushed in ([pin] if pin.is_directory else []) + sources.expand(pin):
                try:
                    download(store.uri, pushed, Path(scratch) / "object")
                except Damaged as error:
                    raise UserError(f"{error}; {UNCHANGED}") from error


@contextlib.contextmanager
def _restored(root: Path, paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files by which DVC pins the paths; they are as they were when the block fails."""
    pin_files = []
    for path in paths:
        above = [folder for folder in path.parents if folder.is_relative_to(root) and folder != root]
        own = [folder.with_name(f"{folder.name}.dvc") for folder in (path, *above)]
        source = next((file for file in own[1:] if file.is_file()), own[0])
        pin_files += [source, source.with_name(".gitignore")]
    pin_files = list(dict.fromkeys(pin_files))
    before = {file: file.read_bytes() if file.is_file() else None for file in pin_files}
    try:
        yield pin_files
    except BaseException:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(content)
        raise
