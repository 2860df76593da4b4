"""What changed in the data sets since a revision, in Markdown for those who review the change."""

import hashlib
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block, Table, render_markdown
from kfp_textclf.pipelines.data_versions import compare_versions, dataset_paths
from kfp_textclf.pipelines.dvc_pins import find_pin
from kfp_textclf.pipelines.git import Tree
from kfp_textclf.pipelines.params import Dataset, load_params
from kfp_textclf.pipelines.pins import tree_root

EXAMPLES = 5  # texts of each kind of change


def data_report(params_file: Path, rev: str, remote: str = "") -> str:
    """Return what changed in each data set of the parameter file.

    Where the bytes of a version cannot be had from here, its pins are told.

    Args:
        params_file: Parameter file.
        rev: Git revision of the older version; the newer one is the checkout.
        remote: DVC remote, URI or directory for bytes that are neither in the checkout nor in DVC's cache.

    Raises:
        UserError: There is no such revision, or a pin is malformed.
    """
    root = params_file.resolve().parent
    pages = []
    for name, files in load_params(params_file).datasets.items():
        before, now = _pins(files, root, rev), _pins(files, root)
        if before != now:
            subtitle, blocks = _changes(params_file, rev, name, remote, before, now)
            pages.append(render_markdown(f"Data set {name}", subtitle, blocks))
    return "\n".join(pages) or f"No data set has changed since {rev}.\n"


def _pins(files: Dataset, root: Path, rev: str = "") -> dict[str, tuple[str, str]]:
    """Return by role the file and its md5: the pinned one, or that of what git has; empty for none."""
    paths = dataset_paths(files, root)
    tree = Tree.at(tree_root(paths["train"]), rev)
    return {role: (path.relative_to(root).as_posix(), _md5(tree, path)) for role, path in paths.items()}


def _md5(tree: Tree, path: Path) -> str:
    if pin := find_pin(tree, path):
        return pin.md5
    content = tree.read(path)
    return "" if content is None else hashlib.md5(content, usedforsecurity=False).hexdigest()


def _changes(
    params_file: Path,
    rev: str,
    name: str,
    remote: str,
    before: dict[str, tuple[str, str]],
    now: dict[str, tuple[str, str]],
) -> tuple[str, list[Block]]:
    try:
        found = compare_versions(params_file, rev, "", name, remote, EXAMPLES)
        return f"{found.old} → {found.new}", found.blocks()
    except UserError as error:
        rows = [(role, path, before.get(role, ("", ""))[1], md5) for role, (path, md5) in now.items()]
        pins = Table("Pins", ("file", "path", "md5 before", "md5 now"), rows)
        return f"What the texts say cannot be told from here: {error}", [pins]
