"""Runs that DVC keeps: the outputs of dvc.yaml in the workspace, at a revision, or of an experiment."""

import hashlib
import subprocess
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Params
from kfp_textclf.pipelines.runs import (
    METRICS,
    PREDICTIONS,
    Run,
    parameters,
    parsed_json,
    variant_metrics,
    with_note,
)

EVALUATION, RAW, PREPARED = "outputs/evaluate/evaluation", "outputs/ingest/raw", "outputs/prepare/metrics.json"
MANIFEST = "manifest.json"
SPLITS = ("train", "validation", "test")


def load_workspace(root: Path) -> Run:
    """Read ``outputs/`` as the last ``dvc repro`` left it.

    Raises:
        UserError: There are no such outputs.
    """
    from fsspec.implementations.dirfs import DirFileSystem

    files = DirFileSystem(str(root.resolve()), auto_mkdir=False, fs=_local_files())
    return _load(files, root, "workspace", "workspace", "HEAD", "run `dvc repro`")


def load_revision(root: Path, name: str) -> Run | None:
    """Read the outputs of a git revision or of an experiment from DVC's cache.

    Returns:
        None when there is no such revision.

    Raises:
        UserError: DVC is not installed, or the revision has no outputs in the cache.
    """
    try:
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from dvc.scm import SCMError
    except ImportError as error:
        raise UserError(
            f"{name!r}: is no local run, and DVC is not installed; pip install 'kfp-textclf[dvc]'"
        ) from error
    try:
        files = DVCFileSystem(str(root), rev=name)
        revision = files.repo.get_rev()
    except (SCMError, DvcException):
        return None
    fix = "`dvc pull` or `dvc checkout` it, or run it again"
    try:
        return _load(files, root, name, "dvc", revision, fix)
    except DvcException as error:
        raise UserError(f"{name}: {EVALUATION} is not in DVC's cache ({error}); {fix}") from error


def _load(files: Any, root: Path, name: str, source: str, revision: str, fix: str) -> Run:
    """Read a run through any fsspec file system."""

    def read(path: str) -> str:
        try:
            return files.cat_file(path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{name}: {path} is not there; {fix}") from error

    metrics = parsed_json(read(f"{EVALUATION}/{METRICS}"), f"{name}: {METRICS}")
    predictions, note = with_note(read(f"{EVALUATION}/{PREDICTIONS}"), f"{name}: {PREDICTIONS}")
    content = _mapping(read("params.yaml"), f"{name}: params.yaml")
    counts = parsed_json(read(PREPARED), f"{name}: {PREPARED}")
    dataset = {
        "name": content.get("dataset", ""),
        "git_rev": _data_revision(root, revision, content),
        "md5": _md5s(files),
        "rows": {split: counts[f"{split}_rows"] for split in SPLITS if f"{split}_rows" in counts},
        "classes": counts.get("classes", ""),
    }
    figures = variant_metrics(metrics, f"{name}: {METRICS}")
    return Run(name, source, figures, _params(content), dataset, predictions, note, metrics)


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{name}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise UserError(f"{name}: is not a mapping of parameters")
    return content


def _params(content: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a parameter file, flat; one of another version is taken as it is."""
    try:
        arguments = Params.model_validate(content).arguments()
    except ValidationError:
        sections = [value for value in content.values() if isinstance(value, dict)]
        arguments = {name: value for section in sections for name, value in section.items()}
        arguments |= {name: content[name] for name in ("base_model", "seed") if name in content}
    return parameters(arguments)


def _md5s(files: Any) -> dict[str, str]:
    """Return the md5 of each raw file: from DVC's index, without reading it, where there is one."""
    found = {}
    for info in files.ls(RAW, detail=True):
        name = info["name"].rpartition("/")[2]
        if name != MANIFEST:
            found[name] = info.get("md5") or hashlib.md5(files.cat_file(info["name"])).hexdigest()  # noqa: S324
    return found


def _data_revision(root: Path, revision: str, content: dict[str, Any]) -> str:
    """Return the newest commit that changed the pins of the data, as it stands in a ``dataset_pin``."""
    chosen = (content.get("datasets") or {}).get(content.get("dataset"), {})
    paths = [path for path in (chosen.get("train"), chosen.get("test")) if path]
    named = [*paths, *(f"{path}.dvc" for path in paths)]
    command = ["git", "-C", str(root), "log", "-1", "--format=%H", revision, "--", *named]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


def _local_files() -> Any:
    from fsspec.implementations.local import LocalFileSystem

    return LocalFileSystem()
