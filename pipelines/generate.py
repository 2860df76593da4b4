"""The files that are generated and committed: component and pipeline YAML, component READMEs, a picture."""

import ast
import json
import os
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from kfp_textclf import components
from kfp_textclf.pipelines.component_readme import component_readme
from kfp_textclf.pipelines.picture import picture
from kfp_textclf.pipelines.sources import CHECKOUT, COMPONENTS, PIPELINES

PICTURE = CHECKOUT / "docs" / "assets" / "training.svg"
PIPELINE_NAMES = ("training", "sweep")
_DEFAULT = re.compile(r"^(#.*\[Default: )([\[{].*)\]$", re.MULTILINE)


def generated_files() -> dict[Path, str]:
    """Return the right content of every generated file, by path."""
    files: dict[Path, str] = {}
    for name in dir(components):
        component = getattr(components, name)
        folder = COMPONENTS / import_module(component.python_func.__module__).__name__.split(".")[-2]
        files[folder / "component.yaml"] = _compiled(component)
        files[folder / "README.md"] = component_readme(component, folder / "metadata.yaml")
    files |= pipelines_in(PIPELINES)
    return files | {PICTURE: picture(files[PIPELINES / "training.yaml"])}


def pipelines_in(directory: Path) -> dict[Path, str]:
    """Return the right content of every compiled pipeline, as files of a directory."""
    return {
        directory / f"{name}.yaml": _compiled(getattr(import_module(f"kfp_textclf.pipelines.{name}"), name))
        for name in PIPELINE_NAMES
    }


def write_or_check(files: dict[Path, str], *, check: bool) -> list[Path]:
    """Return the paths whose content is not the right one; unless ``check``, it is written there."""
    changed = [path for path, content in files.items() if not path.is_file() or path.read_text("utf-8") != content]
    for path in [] if check else changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    return [Path(os.path.relpath(path)) for path in changed]


def _compiled(component: Any) -> str:
    from kfp.compiler import Compiler

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "compiled.yaml"
        Compiler().compile(component, str(path))
        return _DEFAULT.sub(_in_order, path.read_text(encoding="utf-8"))


def _in_order(comment: re.Match[str]) -> str:
    """Return the comment on a parameter with its default in an order that does not change; kfp writes it in any."""
    try:
        default = ast.literal_eval(comment[2])
    except (ValueError, SyntaxError):  # a text, which kfp does not quote
        return comment[0]
    return f"{comment[1]}{json.loads(json.dumps(default, sort_keys=True))}]"
