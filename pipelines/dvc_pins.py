"""DVC's pins: what ``.dvc`` files and ``dvc.lock`` say about a file, in the checkout or at a git revision."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kfp_textclf.components.common.dataset_pin import object_key
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import checked_key
from kfp_textclf.pipelines.git import Tree

LOCK = "dvc.lock"
MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


@dataclass(frozen=True)
class Pin:
    """What DVC says about a file or directory.

    Attributes:
        path: Its absolute path in the checkout.
        md5: md5 of the file, or of the listing of the directory and then with the suffix ``.dir``.
        size: Bytes; None where DVC does not say: a file of a directory.
        legacy: Whether it was pinned by DVC 2, which keeps objects under other keys.
        source: The ``.dvc`` file or ``dvc.lock`` that says so.
        imported: Whether its bytes are another repository's, so that ``dvc push`` does not store them.
    """

    path: Path
    md5: str
    size: int | None
    legacy: bool
    source: Path
    imported: bool = False

    @property
    def is_directory(self) -> bool:
        """Whether a directory is pinned."""
        return self.md5.endswith(".dir")

    @property
    def key(self) -> str:
        """Key of its object below a DVC remote or cache."""
        return object_key(self.md5, self.legacy)

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"{self.path.name} (md5 {self.md5}, pinned by {self.source.name})"


def find_pin(tree: Tree, path: Path) -> Pin | None:
    """Return the pin of a file or of a directory that holds it, or None when DVC does not know it.

    Args:
        tree: The checkout, or a commit of it; its root is where the search upwards ends.
        path: Absolute path.

    Raises:
        UserError: A ``.dvc`` file or ``dvc.lock`` is malformed, or not one that pins a single file.
    """
    if not path.is_relative_to(tree.root):
        return None if tree.commit else _from_dvc_file(Tree(path.parent), path)
    above = [folder for folder in path.parents if folder != tree.root and folder.is_relative_to(tree.root)]
    for candidate in (path, *above):
        pin = _from_dvc_file(tree, candidate)
        if pin and (candidate == path or pin.is_directory):
            return pin
    for folder in (*above, tree.root):
        if pin := _from_lock(tree, folder / LOCK, path):
            return pin
    return None


def list_directory(pin: Pin, listing: bytes) -> list[Pin]:
    """Return the pins of a directory's files.

    Args:
        pin: The directory's pin.
        listing: Content of its object: a JSON list of ``{"md5": ..., "relpath": ...}``.

    Raises:
        UserError: The listing is malformed, or names a path outside of the directory.
    """
    try:
        entries = [(str(entry["relpath"]), str(entry["md5"])) for entry in json.loads(listing)]
        valid = all(re.fullmatch(r"[0-9a-f]{32}", md5) and checked_key(path) for path, md5 in entries)
    except (ValueError, KeyError, TypeError, RecursionError, UserError) as error:
        raise UserError(f"{pin.source}: the listing {pin.md5} is malformed ({error}); add the data again") from error
    if not valid:
        raise UserError(f"{pin.source}: the listing {pin.md5} has an entry without an md5; add the data again")
    return [Pin(pin.path / path, md5, None, pin.legacy, pin.source, pin.imported) for path, md5 in entries]


def _from_dvc_file(tree: Tree, path: Path) -> Pin | None:
    source = path.with_name(f"{path.name}.dvc")
    content = tree.read(source) if path.name else None
    if content is None:
        return None
    document = _mapping(content)
    outs = document.get("outs")
    if not isinstance(outs, list) or not outs or not all(isinstance(out, dict) for out in outs):
        raise _unusable(source, path)
    if len(outs) > 1:
        raise UserError(f"{source}: pins {len(outs)} outputs; pin each file by itself with `dvc add`")
    if document.get("wdir", ".") not in (".", "./") or outs[0].get("path") != path.name:
        where = f"{outs[0].get('path')!r} in {document.get('wdir', '.')!r}"
        raise UserError(f"{source}: pins {where}, not the {path.name} beside it; make it again with `dvc add`")
    deps = document.get("deps")
    imported = isinstance(deps, list) and any(isinstance(dep, dict) and "repo" in dep for dep in deps)
    return _pin(outs[0], path, source, imported)


def _from_lock(tree: Tree, source: Path, path: Path) -> Pin | None:
    content = tree.read(source)
    if content is None:
        return None
    stages = _mapping(content).get("stages")
    if not isinstance(stages, dict):
        return None
    definitions: dict[str, Any] | None = None
    for name, stage in stages.items():
        for out in (isinstance(stage, dict) and stage.get("outs")) or ():
            if not isinstance(out, dict) or not isinstance(out.get("path"), str):
                raise UserError(f"{source}: stage {name!r} is malformed; run `dvc repro`")
            if definitions is None:
                definitions = _mapping(tree.read(source.with_name("dvc.yaml")) or b"").get("stages") or {}
            definition = definitions.get(str(name).partition("@")[0]) if isinstance(definitions, dict) else None
            wdir = str(definition.get("wdir", ".")) if isinstance(definition, dict) else "."
            place = Path(os.path.normpath(source.parent / wdir / out["path"]))
            if place == path or (place in path.parents and str(out.get("md5", "")).endswith(".dir")):
                return _pin(out, place, source)
    return None


def _pin(out: dict[str, Any], path: Path, source: Path, imported: bool = False) -> Pin:
    md5, size = out.get("md5"), out.get("size")
    if not isinstance(md5, str) or not MD5.fullmatch(md5) or out.get("hash", "md5") != "md5":
        raise _unusable(source, path)
    if not md5.endswith(".dir") and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise _unusable(source, path)
    return Pin(path, md5, None if md5.endswith(".dir") else size, "hash" not in out, source, imported)


def _unusable(source: Path, path: Path) -> UserError:
    return UserError(f"{source}: has no md5 and size for {path.name}; make it again with `dvc add`")


def _mapping(content: bytes) -> dict[str, Any]:
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
