"""The validator refuses what a cluster would refuse: each test breaks one valid object."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import validate
import yaml

SCRIPT = Path(validate.__file__)


@pytest.mark.parametrize("path", ["zzz", "spec.zzz", "metadata.zzz"])
def test_an_unknown_field_is_refused_in_every_object(rendered, schemas, path):
    unharmed = []
    for name, objects in rendered.items():
        for item in objects:
            broken = copy.deepcopy(item)
            *parents, field = path.split(".")
            target = broken
            for parent in parents:
                if parent not in target:
                    break
                target = target[parent]
            else:
                target[field] = "x"
                if not any("zzz" in problem for problem in schemas.problems(broken)):
                    unharmed.append(f"{name}: {item['kind']}/{item['metadata']['name']}")
    assert not unharmed


def set_at(path: str, value: object) -> Callable[[dict], None]:
    """Return a change of one field, by its dotted path; numbers are places in lists."""

    def change(item: dict) -> None:
        *parents, field = [int(part) if part.isdigit() else part for part in path.split("/")]
        for parent in parents:
            item = item[parent]  # pyright: ignore[reportArgumentType]
        item[field] = value  # pyright: ignore[reportArgumentType]

    return change


@pytest.mark.parametrize(
    ("overlay", "kind", "change", "where"),
    [
        ("base", "ResourceQuota", set_at("spec/hard", ["pods"]), "spec.hard"),
        ("base", "NetworkPolicy", set_at("spec/policyType", ["Egress"]), "policyType"),
        ("base", "Role", set_at("rules/0/verbs", "get"), "rules.0.verbs"),
        ("base", "Role", set_at("metadata/namespace", ""), "metadata.namespace"),
        ("base", "PriorityClass", set_at("value", "high"), "value"),
        ("base", "PriorityClass", set_at("metadata/namespace", "textclf"), "cluster-wide"),
        ("base", "PersistentVolumeClaim", set_at("spec/accessModes", "ReadWriteOnce"), "spec.accessModes"),
        ("nvidia-device-plugin", "DaemonSet", set_at("spec/template/spec/container", []), "container"),
        ("eks", "NodePool", set_at("spec/template/spec/requirements/0/operator", "Is"), "requirements.0.operator"),
        ("eks", "NodePool", set_at("spec/template/spec/taints/0/effect", "NoStart"), "taints.0.effect"),
        ("eks", "NodePool", set_at("spec/disruption/consolidateAfter", 300), "spec.disruption.consolidateAfter"),
        ("eks", "NodePool", set_at("apiVersion", "karpenter.sh/v1beta1"), "no schema is known"),
        ("eks", "NodePool", set_at("metadata/namespace", "textclf"), "cluster-wide"),
        ("eks", "EC2NodeClass", set_at("spec/amiSelectorTerms", []), "spec.amiSelectorTerms"),
        ("eks", "EC2NodeClass", set_at("spec/amiSelectorTerms/0/alias", "al2023"), "spec.amiSelectorTerms.0.alias"),
        ("aks", "AKSNodeClass", set_at("spec/osDiskSizeGb", 100), "osDiskSizeGb"),
        ("gke", "ComputeClass", set_at("spec/priorities/0/gpu/count", "1"), "spec.priorities.0.gpu.count"),
        ("gke", "ComputeClass", set_at("spec/whenUnsatisfiable", "Wait"), "spec.whenUnsatisfiable"),
        ("eks", "ExternalSecret", set_at("spec/data/0/remoteRef", {"property": "x"}), "spec.data.0.remoteRef"),
        ("eks", "ExternalSecret", set_at("metadata/labels", {"a": 1}), "metadata.labels.a"),
    ],
)
def test_a_broken_object_is_refused(rendered, schemas, overlay, kind, change, where):
    item = copy.deepcopy(next(item for item in rendered[overlay] if item["kind"] == kind))
    assert not list(schemas.problems(item))
    change(item)
    problems = list(schemas.problems(item))
    assert any(where in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_a_clusters_own_definitions_take_the_place_of_ours(rendered, tmp_path):
    item = next(item for item in rendered["gke"] if item["kind"] == "ComputeClass")
    definition = yaml.safe_load((validate.SCHEMAS / "gke.yaml").read_text(encoding="utf-8"))
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["required"] = [*spec["required"], "newField"]
    file = tmp_path / "crds.yaml"
    file.write_text(yaml.safe_dump({"kind": "List", "apiVersion": "v1", "items": [definition]}), encoding="utf-8")
    assert any("newField" in problem for problem in validate.Schemas.load([file]).problems(item))


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=env or None
    )


def test_the_command_ends_with_1_and_a_line_per_problem(rendered, tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n", encoding="utf-8")
    item = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "b"},
        "dat": {},
        "immutable": 1,
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(item), encoding="utf-8")
    done = run(str(tmp_path))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert all("ConfigMap/a" in line for line in lines)
    assert "dat" in lines[0] + lines[1]
    assert "immutable" in lines[0] + lines[1]


def test_what_kustomize_refuses_is_one_line(rendered, tmp_path):
    (tmp_path / "kustomization.yaml").write_text("resources: [absent.yaml]\n", encoding="utf-8")
    done = run(str(tmp_path))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "absent.yaml" in done.stderr


def test_without_kubectl_the_command_says_how_to_get_it(tmp_path):
    done = run(KUBECTL=str(tmp_path / "kubectl"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "install" in done.stderr
