"""From files of the checkout to the pipeline parameter ``dataset_pin``."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Dataset


def pin_dataset(files: Dataset, root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Pin the files of a data set as they are in the checkout.

    A file with a ``.dvc`` file beside it is pinned by that: what lies in the checkout must be those bytes. Any other
    file is pinned as it is.

    Args:
        files: The data set.
        root: What relative paths start from.

    Returns:
        The ``dataset_pin``, and the pipeline arguments ``train_file`` and ``test_file``.

    Raises:
        UserError: A file is not there, or its ``.dvc`` file is malformed.
    """
    paths = {role: root / name for role, name in (("train", files.train), ("test", files.test)) if name}
    base = Path(os.path.commonpath([path.parent.resolve() for path in paths.values()]))
    names = {role: path.resolve().relative_to(base).as_posix() for role, path in paths.items()}
    entries = {names[role]: _entry(path, names[role]) for role, path in paths.items()}
    pin = {"store": base.as_uri(), "git_rev": _git_revision(list(paths.values())), "files": list(entries.values())}
    return pin, {"train_file": names["train"], "test_file": names.get("test", "")}


def _entry(path: Path, name: str) -> dict[str, Any]:
    dvc_file = path.with_name(path.name + ".dvc")
    if not path.is_file():
        fix = "fetch it with `make data`" if dvc_file.is_file() else "give the path of an existing file"
        raise UserError(f"{path}: is not here; {fix}")
    if dvc_file.is_file():
        md5, size = _read_dvc_file(dvc_file, path.name)
    else:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        size = path.stat().st_size
    return {"path": name, "md5": md5, "size": size, "uri": path.resolve().as_uri()}


def _read_dvc_file(path: Path, name: str) -> tuple[str, int]:
    try:
        outs = yaml.safe_load(path.read_text(encoding="utf-8"))["outs"]
        out = next(out for out in outs if out["path"] == name)
        return str(out["md5"]), int(out["size"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, StopIteration) as error:
        raise UserError(f"{path}: has no md5 and size for {name}; make it again with `dvc add`") from error


def _git_revision(paths: list[Path]) -> str:
    """Return the newest commit that changed a pin, or an empty string outside a git checkout.

    Not HEAD: the revision is part of what steps are cached by, and must not move when the data does not.
    """
    named = [str(path.resolve()) for path in paths] + [str(path.resolve()) + ".dvc" for path in paths]
    command = ["git", "-C", str(paths[0].parent), "log", "-1", "--format=%H", "--", *named]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
