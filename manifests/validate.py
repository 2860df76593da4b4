"""Render the manifests as `kubectl apply -k` would, and check every object strictly: one line per problem, exit code 1.

Usage: python manifests/validate.py [--crds FILE ...] [DIRECTORY ...]     (without directories: base and every overlay)
"""

import argparse
import importlib.resources
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft4Validator, Draft202012Validator
from referencing import Registry, Resource

HERE = Path(__file__).parent
SCHEMAS = HERE / "schemas"
KUBERNETES = "v1.32.0"
PLACEHOLDER = re.compile("change-me", re.IGNORECASE)
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "Namespace", "PriorityClass", "StorageClass"}

Object = dict[str, Any]


class RenderError(Exception):
    """kubectl is absent, or kustomize refused the directory; the message is one line."""


def targets() -> list[Path]:
    """Return the directories that are applied: base, each overlay, and what is applied once per cluster."""
    return [
        HERE / "base",
        HERE / "nvidia-device-plugin",
        *sorted(path.parent for path in HERE.glob("overlays/*/kustomization.yaml")),
    ]


def kubectl() -> str:
    """Return the path of kubectl.

    Raises:
        RenderError: If there is none.
    """
    name = os.environ.get("KUBECTL", "kubectl")
    if path := shutil.which(name):
        return path
    raise RenderError(
        f"{name}: not found; install kubectl 1.21 or newer, or name it in KUBECTL (.ci/kubectl fetches one)"
    )


def render(directory: Path) -> list[Object]:
    """Return the objects that `kubectl apply -k directory` would send.

    Raises:
        RenderError: If kubectl cannot render them.
    """
    command = [kubectl(), "kustomize", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RenderError(f"{_shown(directory)}: {' '.join(done.stderr.split())}")
    return [item for item in yaml.safe_load_all(done.stdout) if item]


class Schemas:
    """Strict schemas of every kind: Kubernetes' own, and those of custom resource definitions."""

    def __init__(self, definitions: Iterable[Object]) -> None:
        """Read definitions; of two for the same kind and version the later one counts."""
        self._custom: dict[tuple[str, str], tuple[Draft4Validator, bool]] = {}
        for definition in definitions:
            spec = definition["spec"]
            for version in spec["versions"]:
                key = f"{spec['group']}/{version['name']}", spec["names"]["kind"]
                schema = closed(version["schema"]["openAPIV3Schema"])
                self._custom[key] = Draft4Validator(schema), spec["scope"] == "Cluster"

    @classmethod
    def load(cls, files: Iterable[Path] = ()) -> "Schemas":
        """Read the definitions beside this module, then those in files, which take their place."""
        return cls(itertools.chain.from_iterable(map(_definitions, [*sorted(SCHEMAS.glob("*.yaml")), *files])))

    def problems(self, item: Object) -> Iterator[str]:
        """Yield what is wrong with an object, each as ``path: reason``."""
        api, kind, metadata = item.get("apiVersion", ""), item.get("kind", ""), item.get("metadata", {})
        if custom := self._custom.get((api, kind)):
            validator, cluster_wide = custom
            yield from _errors(validator, {key: value for key, value in item.items() if key != "metadata"})
            yield from _errors(
                _core("v1", "ConfigMap"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            )
        elif core := _core(api, kind):
            cluster_wide = kind in CLUSTER_WIDE
            yield from _errors(core, item)
        else:
            yield f"kind: no schema is known of {kind} in {api}; add its definition to {SCHEMAS.name}/"
            return
        if cluster_wide and "namespace" in metadata:
            yield "metadata.namespace: the kind is cluster-wide"
        if not cluster_wide and not metadata.get("namespace"):
            yield "metadata.namespace: absent, so that it would depend on the caller's context"


def closed(schema: Any) -> Any:
    """Return a definition's schema as JSON schema that refuses unknown fields, as strict decoding does."""
    if not isinstance(schema, dict):
        return schema
    result = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-")}
    for key in ("items", "additionalProperties"):
        if key in result:
            result[key] = closed(result[key])
    if "properties" in schema:
        result["properties"] = {name: closed(part) for name, part in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            result["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        result["type"] = ["integer", "string"]
    if result.pop("nullable", False) and "type" in result:
        result = {"anyOf": [{"type": "null"}, result]}
    return result


def _definitions(file: Path) -> Iterator[Object]:
    for document in filter(None, yaml.safe_load_all(file.read_text(encoding="utf-8"))):
        for item in document["items"] if document["kind"] == "List" else [document]:
            for version in item["spec"]["versions"]:
                known = version["schema"]["openAPIV3Schema"]["properties"]
                known |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
            yield item


@cache
def _core(api: str, kind: str) -> Draft202012Validator | None:
    """Return the validator of a built-in kind, from the strict schemas in the package kubernetes-validate."""
    group, _, version = api.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.split(".")[0], version]))
    file = _core_directory() / f"{name}.json"
    if not file.is_file():
        return None
    return Draft202012Validator(json.loads(file.read_text(encoding="utf-8")), registry=_core_definitions())


@cache
def _core_directory() -> Path:
    package = Path(str(importlib.resources.files("kubernetes_validate")))
    return package / "kubernetes-json-schema" / f"{KUBERNETES}-local-strict"


@cache
def _core_definitions() -> Registry:
    file = _core_directory() / "_definitions.json"
    return Resource.from_contents(json.loads(file.read_text(encoding="utf-8"))) @ Registry()


def _errors(validator: Any, item: Object) -> Iterator[str]:
    for error in sorted(validator.iter_errors(item), key=str):
        yield f"{'.'.join(map(str, error.absolute_path)) or '.'}: {' '.join(error.message.split())}"


def _shown(directory: Path) -> str:
    return os.path.relpath(directory)


def check(directory: Path, schemas: Schemas) -> tuple[list[Object], list[str]]:
    """Return a directory's objects, and its problems, one line each."""
    objects = render(directory)
    problems = [
        f"{_shown(directory)}: {item.get('kind')}/{item.get('metadata', {}).get('name')}: {problem}"
        for item in objects
        for problem in schemas.problems(item)
    ]
    return objects, problems


def main(arguments: list[str] | None = None) -> int:
    """Check the directories that the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directories", nargs="*", type=Path, help="default: base and every overlay")
    parser.add_argument("--crds", nargs="+", type=Path, default=[], metavar="FILE", help="definitions of your cluster")
    options = parser.parse_args(arguments)
    try:
        kubectl()
    except RenderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    schemas, failed = Schemas.load(options.crds), False
    for directory in options.directories or targets():
        try:
            objects, problems = check(directory, schemas)
        except RenderError as error:
            objects, problems = [], [str(error)]
        failed |= bool(problems)
        for problem in problems:
            print(f"error: {problem}", file=sys.stderr)
        if not problems:
            left = len(PLACEHOLDER.findall(json.dumps(objects)))
            print(
                f"{_shown(directory)}: {len(objects)} objects valid"
                + (f"; {left} placeholders (CHANGE-ME) to set" if left else "")
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
