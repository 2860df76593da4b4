"""A compiled pipeline as a server takes it: its parameters and their types, caching, and a name for its content."""

import copy
import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from kfp_textclf.components.common.errors import UserError

TYPES = {
    "STRING": (str, "a text"),
    "NUMBER_INTEGER": (int, "a whole number"),
    "NUMBER_DOUBLE": (float, "a number"),
    "BOOLEAN": (bool, "true or false"),
    "LIST": (list, "a list, such as [a, b]"),
    "STRUCT": (dict, "a mapping, such as {a: 1}"),
}
_PARAMETER = re.compile(r"\{\{\$\.inputs\.parameters\['(?:pipelinechannel--)?([\w-]+)'\]\}\}")


@dataclass(frozen=True)
class Package:
    """A compiled pipeline.

    Attributes:
        name: The pipeline's name.
        text: It as YAML.
        documents: The pipeline spec and, if it has one, the platform spec.
    """

    name: str
    text: str
    documents: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> "Package":
        """Read a compiled pipeline, and check it as the server will.

        Raises:
            UserError: The file is missing, no pipeline, or refers to parts that it does not hold.
        """
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        try:
            text = path.read_text(encoding="utf-8")
            documents = [document for document in yaml.safe_load_all(text) if document]
            json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())  # type: ignore[attr-defined]
            for document in documents[1:]:
                json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())  # type: ignore[attr-defined]
            spec = documents[0]
            name = spec["pipelineInfo"]["name"]
            dangling = _dangling(spec)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); run make compile") from error
        except (yaml.YAMLError, UnicodeDecodeError, json_format.ParseError, LookupError, TypeError) as error:
            raise UserError(f"{path}: is no compiled pipeline ({error}); run make compile") from error
        if floating := _floating_images(spec):
            raise UserError(
                f"{path}: image {floating[0]} has no fixed tag, and may be another tomorrow; name a release"
            )
        if spec.get("schemaVersion") != "2.1.0" or dangling:
            problem = f"refers to {dangling[0]!r}, which it lacks" if dangling else "is not of schema version 2.1.0"
            raise UserError(f"{path}: {problem}; compile it with kfp 2.17")
        return cls(name, text, documents)

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """Type, default and optionality of every parameter, by name."""
        return self.documents[0]["root"].get("inputDefinitions", {}).get("parameters", {})

    @property
    def steps(self) -> list[str]:
        """Names of the tasks that run in pods, those of nested pipelines too, in an order that they can run in."""
        return list(dict.fromkeys(name for name, _ in _steps(self.documents[0], self.documents[0]["root"])))

    def resources(self, arguments: dict[str, Any]) -> dict[str, tuple[float, int]]:
        """Return the CPU cores and the GPUs that every step may use, by its name; 0 where no limit is known yet.

        Args:
            arguments: Values of the parameters; a parameter of a nested pipeline is the outer one of that name.
        """
        executors = self.documents[0]["deploymentSpec"]["executors"]
        values = {name: parameter.get("defaultValue") for name, parameter in self.parameters.items()} | arguments
        found = {}
        for name, label in _steps(self.documents[0], self.documents[0]["root"]):
            limits = executors[label].get("container", {}).get("resources", {})
            gpus = limits.get("accelerator", {}).get("resourceCount", "0")
            cores = _quantity(_given(limits.get("resourceCpuLimit", "0"), values))
            found[name] = (cores, int(_quantity(_given(gpus, values))))
        return found

    def without_caching(self) -> "Package":
        """Return the pipeline with caching off in every task, those in conditions, loops and nested pipelines too."""
        documents = copy.deepcopy(self.documents)
        for component in [documents[0]["root"], *documents[0].get("components", {}).values()]:
            for task in component.get("dag", {}).get("tasks", {}).values():
                task["cachingOptions"] = {}
        return Package(self.name, yaml.safe_dump_all(documents, sort_keys=True, allow_unicode=True), documents)

    @property
    def version(self) -> str:
        """A name for this content: 12 hexadecimal digits of its sha256."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def arguments(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return ``values`` with the types that the pipeline declares; texts, as from a command line, are converted.

        Raises:
            UserError: A value is unknown, of another type, or a parameter without a default is missing.
        """
        for name in values:
            if name not in self.parameters:
                close = difflib.get_close_matches(name, self.parameters, n=1)
                hint = f"; did you mean {close[0]}?" if close else f" (it has {', '.join(self.parameters) or 'none'})"
                raise UserError(f"{name}: is no parameter of pipeline {self.name}{hint}")
        missing = [
            name
            for name, parameter in self.parameters.items()
            if name not in values and "defaultValue" not in parameter and not parameter.get("isOptional")
        ]
        if missing:
            raise UserError(f"pipeline {self.name}: {', '.join(missing)} has no value; set it with --set name=value")
        return {name: convert(name, value, self.parameters[name]["parameterType"]) for name, value in values.items()}


def convert(name: str, value: Any, kind: str) -> Any:
    """Return ``value`` as the pipeline's type ``kind``, such as ``NUMBER_INTEGER``.

    Raises:
        UserError: It is of another type.
    """
    wanted, described = TYPES.get(kind, (object, kind))
    if isinstance(value, str) and wanted is not str:
        try:
            value = yaml.safe_load(value)
            if wanted in (int, float) and isinstance(value, str):
                value = float(value)  # YAML takes 1e-5 for a text
        except (yaml.YAMLError, ValueError):
            pass
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, wanted) or (wanted in (int, float) and isinstance(value, bool)):
        raise UserError(f"{name}={value!r}: is not {described}; correct it")
    return value


def _given(value: str, arguments: dict[str, Any]) -> str:
    """Return a setting, or the argument that it stands for."""
    parameter = _PARAMETER.fullmatch(value)
    return str(arguments.get(parameter[1], "")) if parameter else value


def _quantity(text: str) -> float:
    """Return 0.5 for 500m, and 0 for what is no number."""
    try:
        return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
    except ValueError:
        return 0.0


def _steps(spec: dict[str, Any], component: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and executor of every task that runs in a pod."""
    tasks = component.get("dag", {}).get("tasks", {})
    order = TopologicalSorter({name: task.get("dependentTasks", ()) for name, task in tasks.items()}).static_order()
    for name in order:
        inner = spec["components"][tasks[name]["componentRef"]["name"]]
        if "executorLabel" in inner:
            yield name, inner["executorLabel"]
        else:
            yield from _steps(spec, inner)


def _floating_images(spec: dict[str, Any]) -> list[str]:
    """Return the images that are named without a tag or digest, or by ``latest``; the names of volumes are none."""
    executors = spec.get("deploymentSpec", {}).get("executors", {}).values()
    images = [executor["container"]["image"] for executor in executors if "container" in executor]
    fixed = re.compile(r"@|\{\{|^argostub/|:(?!latest$)[^/:]+$")
    return [image for image in images if not fixed.search(image)]


def _dangling(spec: dict[str, Any]) -> list[str]:
    """Return names of components and executors that are referred to and missing."""
    components, executors = spec.get("components", {}), spec.get("deploymentSpec", {}).get("executors", {})
    tasks = [
        task
        for component in [spec["root"], *components.values()]
        for task in component.get("dag", {}).get("tasks", {}).values()
    ]
    wanted = [task["componentRef"]["name"] for task in tasks]
    labels = [component["executorLabel"] for component in components.values() if "executorLabel" in component]
    return [name for name in wanted if name not in components] + [name for name in labels if name not in executors]
