"""From files of the checkout, or of a git revision, to the pipeline parameter ``dataset_pin``."""

import os
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.dataset_pin import object_key
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.dvc_pins import LOCK, Pin
from kfp_textclf.pipelines.dvc_remotes import default_remote, dvc_root, resolve_store
from kfp_textclf.pipelines.git import Tree, git, last_commit
from kfp_textclf.pipelines.params import Dataset
from kfp_textclf.pipelines.pinned_bytes import Sources, Unavailable, md5_of, object_size, sources_of


def pin_dataset(files: Dataset, root: Path, store: str = "", rev: str = "") -> tuple[dict[str, Any], dict[str, str]]:
    """Pin the files of a data set.

    A file that DVC knows, by a ``.dvc`` file or ``dvc.lock``, of its own or of a directory, is pinned by that: what
    lies in the checkout, or the store, must be those bytes. Any other file is pinned as it is.

    Args:
        files: The data set.
        root: What relative paths start from.
        store: Where the pinned bytes are fetched from: name of a DVC remote, URI or directory; the files need not be
            in the checkout then. When empty, the files of the checkout, or DVC's cache for a revision.
        rev: Git revision whose pins are taken; those of the working tree when empty.

    Returns:
        The ``dataset_pin``, and the pipeline arguments ``train_file`` and ``test_file``.

    Raises:
        UserError: A file is not there, its pin is malformed, or the store is unusable.
    """
    paths = {role: absolute(root / name) for role, name in (("train", files.train), ("test", files.test)) if name}
    remote = resolve_store(store, root) if store else None
    if remote:
        remote.use_options()
    tree = Tree.at(tree_root(paths["train"]), rev)
    base = Path(os.path.commonpath([path.parent for path in paths.values()]))
    names = {role: path.relative_to(base).as_posix() for role, path in paths.items()}
    sources = sources_of(tree.root, remote.uri if remote else "")
    place = remote.uri if remote else base.as_uri()
    if rev and not remote:
        if not sources.cache:
            raise UserError(f"{rev}: there is no DVC cache to take the files of a revision from; name a store")
        place = sources.cache.as_uri()
    entries, pins = {}, []
    for role, path in paths.items():
        pin = _resolve(sources, tree, path)
        pins.append(pin)
        in_checkout = not store and not rev
        entries[names[role]] = _entry(path, pin, names[role], sources, place, in_checkout)
    pin = {"store": place, "git_rev": _revision(tree, list(paths.values()), pins), "files": list(entries.values())}
    return pin, {"train_file": names["train"], "test_file": names.get("test", "")}


def absolute(path: Path) -> Path:
    """Return a path without ``..`` and with links of its directories followed, but not itself: DVC may make it one."""
    path = Path(os.path.abspath(path))
    return path.parent.resolve() / path.name


def tree_root(path: Path) -> Path:
    """Return the root of the DVC repository of a file, else of its git repository, else its directory."""
    if root := dvc_root(path.parent):
        return root
    top = git(path.parent, "rev-parse", "--show-toplevel")
    found = Path(os.fsdecode(top).rstrip("\n")) if top else path.parent
    return found if path.is_relative_to(found) else path.parent


def _resolve(sources: Sources, tree: Tree, path: Path) -> Pin | None:
    """Return a file's pin; a directory's listing that is not here is looked for in the default remote."""
    try:
        return sources.resolve(tree, path)
    except Unavailable:
        remote = None if sources.store else default_remote(tree.root)
        if not remote:
            raise
        remote.use_options()
        return Sources(sources.cache, remote.uri).resolve(tree, path)


def _entry(path: Path, pin: Pin | None, name: str, sources: Sources, place: str, in_checkout: bool) -> dict[str, Any]:
    """Return the file's entry in the pin; without a URI where the store has it under its usual key."""
    if in_checkout:
        if not path.is_file():
            fix = (
                "fetch it with `make data` or `dvc pull`, or set store" if pin else "give the path of an existing file"
            )
            raise UserError(f"{path}: is not here; {fix}")
        size = pin.size if pin and pin.size is not None else path.stat().st_size
        return {"path": name, "md5": pin.md5 if pin else md5_of(path), "size": size, "uri": path.resolve().as_uri()}
    if not pin:
        return _unpinned(path, name, place, sources)
    if pin.is_directory:
        raise UserError(f"{path}: is a directory; name its files under datasets in params.yaml")
    if pin.imported:
        raise UserError(f"{pin.source}: is an import, which `dvc push` never stores; pin a copy: kfp-textclf data add")
    if not sources.store and sources.cache and not (sources.cache / pin.key).is_file():
        raise UserError(f"{pin}: is not in DVC's cache; name a store that has it")
    entry = {"path": name, "md5": pin.md5, "size": sources.size(pin)}
    return {**entry, "uri": f"{place}/{pin.key}"} if pin.legacy else entry


def _unpinned(path: Path, name: str, place: str, sources: Sources) -> dict[str, Any]:
    """Return the entry of a file that DVC does not know, if the store happens to have it."""
    fix = f"pin and push it: kfp-textclf data add {path.name}"
    if not path.is_file() or not sources.store:
        raise UserError(f"{path}: is not pinned by DVC; {fix}")
    md5, size = md5_of(path), path.stat().st_size
    if object_size(sources.store, object_key(md5)) != size:
        raise UserError(
            f"{path}: is not pinned by DVC, and {place} does not have it (md5 {md5}); {fix}, or submit with --push"
        )
    return {"path": name, "md5": md5, "size": size}


def _revision(tree: Tree, paths: list[Path], pins: list[Pin | None]) -> str:
    """Return the newest commit that changed a pin, or an empty string outside a git checkout.

    Not HEAD: the revision is part of what steps are cached by, and must not move when the data does not.
    """
    known = [pin for pin in pins if pin]
    locked = next((pin for pin in known if pin.source.name == LOCK), None)
    if locked:  # which changes with every stage: the commit that brought this md5
        return last_commit(tree.root, [locked.source], tree.commit, locked.md5)
    named = [*paths, *(path.with_name(f"{path.name}.dvc") for path in paths), *(pin.source for pin in known)]
    return last_commit(tree.root, named, tree.commit)
