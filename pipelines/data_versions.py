"""Versions of a data set: what a git revision pins, and what changed between two of them."""

import json
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block, Table, render_html
from kfp_textclf.components.prepare.readers import Columns
from kfp_textclf.pipelines.data_changes import FileChanges, compare_files
from kfp_textclf.pipelines.data_changes_report import change_blocks
from kfp_textclf.pipelines.dvc_remotes import Remote, default_remote, resolve_store
from kfp_textclf.pipelines.git import Tree
from kfp_textclf.pipelines.params import Dataset, Params, load_params
from kfp_textclf.pipelines.pinned_bytes import Sources, md5_of, sources_of
from kfp_textclf.pipelines.pins import absolute, tree_root

NOW = "working tree"


@dataclass(frozen=True)
class DataVersion:
    """A version of a data set.

    Attributes:
        name: Revision as it was asked for, or ``working tree``.
        commit: Its commit; empty for the working tree.
        files: By role (train, test): path, md5, size, and whether that is what is pinned.
    """

    name: str
    commit: str
    files: dict[str, dict[str, Any]]

    def __str__(self) -> str:
        """Return how a reader tells it from others."""
        commit = f" ({self.commit[:12]})" if self.commit and not self.commit.startswith(self.name) else ""
        return f"{self.name}{commit}"


@dataclass(frozen=True)
class VersionComparison:
    """Two versions of a data set, and what changed in each of its files."""

    dataset: str
    old: DataVersion
    new: DataVersion
    changes: dict[str, FileChanges]

    def blocks(self) -> list[Block]:
        """Return the comparison as blocks of a report."""
        rows = [
            (version.name, version.commit[:12], role, file["path"], file["md5"], file["size"], _state(file))
            for version in (self.old, self.new)
            for role, file in version.files.items()
        ]
        versions = Table("Versions", ("version", "commit", "file", "path", "md5", "bytes", "pin"), rows)
        return [*change_blocks(self.changes), versions]

    def page(self) -> str:
        """Return the comparison as an HTML page."""
        return render_html(f"Data versions: {self.dataset}", f"{self.old} → {self.new}", self.blocks())


def compare_versions(
    params_file: Path, old: str, new: str = "", dataset: str = "", remote: str = "", examples: int = 5
) -> VersionComparison:
    """Compare two versions of a data set; bytes that are not here are fetched by md5.

    Args:
        params_file: Parameter file: data sets, columns, and what relative paths start from. At a revision, the files of
            the data set are those that the parameter file named then.
        old: Git revision of the older version.
        new: Git revision of the newer one; when empty, the files as they are in the checkout.
        dataset: Name of the data set, or a file; the parameter file's when empty.
        remote: DVC remote, URI or directory for what is neither in the checkout nor in DVC's cache.
        examples: How many texts of each kind of change are kept.

    Raises:
        UserError: A revision does not exist or has no such data set, or its bytes cannot be had.
    """
    params = load_params(params_file, [f"dataset={dataset}"] if dataset else [])
    root = params_file.resolve().parent
    store = find_store(root, remote or params.store)
    columns = columns_of(params)
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for number, rev in enumerate((old, new)):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            found.append(_open_version(params, params_file, rev, store, folder))
        (before, old_files), (after, new_files) = found
        changes = {
            role: compare_files(old_files.get(role), new_files.get(role), columns, examples)
            for role in ("train", "test")
            if role in old_files or role in new_files
        }
    return VersionComparison(params.dataset, before, after, changes)


def show_comparison(comparison: VersionComparison, as_json: bool, html: Path | None) -> None:
    """Print a comparison as tables or JSON, and write its HTML page."""
    if html:
        try:
            partial = html.with_name(f".{html.name}.{os.getpid()}")
            partial.write_text(comparison.page(), encoding="utf-8")
            partial.replace(html)
        except OSError as error:
            raise UserError(f"{html}: cannot be written ({error.strerror}); choose another place") from error
    if as_json:
        print(json.dumps(asdict(comparison), indent=2, ensure_ascii=False))
        return
    from kfp_textclf.pipelines.terminal import plain, print_blocks

    print(plain(f"{comparison.dataset}: {comparison.old} → {comparison.new}"))
    print_blocks(comparison.blocks())
    if html:
        print(f"report {html}", file=sys.stderr)


def columns_of(params: Params) -> Columns:
    """Return where text and label stand in the files."""
    prepare = params.prepare
    return Columns(prepare.text_column, prepare.label_column, prepare.header, tuple(prepare.column_order))


def find_store(root: Path, name: str = "") -> Remote | None:
    """Return the named store, else DVC's default remote if that is usable, with its settings in the environment."""
    if name:
        remote = resolve_store(name, root)
    else:
        try:
            remote = default_remote(root)
        except UserError:
            return None
    if remote:
        remote.use_options()
    return remote


def dataset_paths(files: Dataset, root: Path) -> dict[str, Path]:
    """Return the absolute paths of a data set's files by role."""
    named = {"train": files.train, "test": files.test}
    return {role: absolute(root / name) for role, name in named.items() if name}


def _open_version(
    params: Params, params_file: Path, rev: str, store: Remote | None, folder: Path
) -> tuple[DataVersion, dict[str, Path]]:
    """Return a version, and by role a file here with its bytes."""
    root = params_file.resolve().parent
    here = dataset_paths(params.files(), root)
    tree = Tree.at(tree_root(here["train"]), rev)
    paths = dataset_paths(_files_then(tree, params_file.resolve(), params), root) if rev else here
    sources = sources_of(tree.root, store.uri if store else "")
    files: dict[str, dict[str, Any]] = {}
    opened: dict[str, Path] = {}
    for role, path in paths.items():
        place = folder / role
        place.mkdir()
        if file := _open_file(sources, tree, path, place):
            opened[role], md5, pinned = file
            name = os.path.relpath(path, root)
            files[role] = {"path": name, "md5": md5, "size": opened[role].stat().st_size, "pinned": pinned}
    if "train" not in opened:
        at = f"at {rev}" if rev else "in the checkout"
        raise UserError(f"{here['train']}: is neither pinned nor in git {at}; name a revision that has the data set")
    return DataVersion(rev or NOW, tree.commit, files), opened


def _open_file(sources: Sources, tree: Tree, path: Path, folder: Path) -> tuple[Path, str, bool] | None:
    """Return a file with the content of a version, its md5, and whether that is pinned."""
    if not tree.commit and path.is_file():
        pin, md5 = sources.resolve(tree, path), md5_of(path)
        return path, md5, bool(pin and pin.md5 == md5)
    if pin := sources.resolve(tree, path):
        if pin.is_directory:
            raise UserError(f"{path}: is a directory; name its files under datasets in params.yaml")
        return sources.fetch(pin, folder), pin.md5, True
    copy = folder / path.name
    if tree.commit and path.is_relative_to(tree.root) and tree.extract(path, copy):
        return copy, md5_of(copy), True
    return None


def _files_then(tree: Tree, params_file: Path, params: Params) -> Dataset:
    """Return the files that a data set had at a revision; those of today when it was not in the parameter file."""
    content = tree.read(params_file) if params_file.is_relative_to(tree.root) else None
    try:
        then = yaml.safe_load(content or b"")["datasets"][params.dataset]
        return Dataset.model_validate(then)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, KeyError, TypeError, ValueError, ValidationError):
        return params.files()


def _state(file: dict[str, Any]) -> str:
    return "pinned" if file["pinned"] else "not pinned"
