"""What the rendered manifests promise: strict, restricted, least rights, no secret value."""

import copy
import json
import os
import re
import string
from collections.abc import Iterator
from typing import Any

import pytest
import validate
import yaml
from pod_security import violations

OVERLAYS = {"eks", "gke", "aks", "kind"}
NAMESPACED = {"base": "textclf", "standalone": "kubeflow"} | dict.fromkeys(OVERLAYS, "textclf")
PART_OF = "app.kubernetes.io/part-of"
RUNNER_VALUES = validate.HERE / "components/ci-runner/values.yaml"
FILES = [path for path in validate.HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
SECRETS = re.compile(
    r"A[KS]IA[0-9A-Z]{16}|gh[pousr]_\w{30,}|github_pat_\w{30,}|hf_[A-Za-z]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\."
    r"|BEGIN [A-Z ]*PRIVATE KEY|\b[0-9a-f]{40}\b"
)
TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{24,}")


def of(objects: list[validate.Object], *kinds: str) -> list[validate.Object]:
    return [item for item in objects if item["kind"] in kinds]


def pods(item: Any) -> Iterator[dict[str, Any]]:
    """Yield the pod specs anywhere in an object."""
    if isinstance(item, dict):
        if isinstance(item.get("containers"), list):
            yield item
        else:
            for part in item.values():
                yield from pods(part)
    elif isinstance(item, list):
        for part in item:
            yield from pods(part)


def runner_pod() -> validate.Object:
    values = yaml.safe_load(RUNNER_VALUES.read_text(encoding="utf-8"))
    metadata = values["template"]["metadata"] | {"name": "runner", "namespace": "textclf"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": values["template"]["spec"]}


def looks_secret(text: str) -> bool:
    """Tell whether a text holds a known kind of key, or a long word of digits and both cases, as random keys are."""
    if SECRETS.search(text):
        return True
    words = (word for match in TOKEN.findall(text) for word in re.split(r"[-_/]", match))
    groups = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
    return any(len(word) >= 20 and all(set(group) & set(word) for group in groups) for word in words)


def test_every_directory_is_rendered(rendered):
    assert rendered.keys() >= {"base", "standalone", "nvidia-device-plugin"} | OVERLAYS
    assert all(rendered.values())


def test_every_object_is_valid(rendered, schemas):
    problems = [
        f"{name}: {item['kind']}/{item['metadata']['name']}: {problem}"
        for name, objects in rendered.items()
        for item in [*objects, runner_pod()]
        for problem in schemas.problems(item)
    ]
    assert not problems


def test_components_that_no_overlay_uses_are_valid_too(rendered, schemas, tmp_path):
    content = {
        "namespace": "elsewhere",
        "resources": [os.path.relpath(validate.HERE / "base", tmp_path.resolve())],
        "components": [
            os.path.relpath(path, tmp_path.resolve()) for path in sorted((validate.HERE / "components").iterdir())
        ],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    objects, problems = validate.check(tmp_path, schemas)
    assert not problems
    assert {item["metadata"].get("namespace", "elsewhere") for item in objects} == {"elsewhere"}
    assert {"kfp-textclf-github", "kfp-textclf-s3", "kfp-textclf-wandb"} <= {
        item["metadata"]["name"] for item in objects
    }


@pytest.mark.parametrize("name", sorted(NAMESPACED))
def test_namespace_and_labels(rendered, name):
    for item in rendered[name]:
        if item["kind"] == "Namespace":
            assert item["metadata"]["name"] == "textclf"
            continue
        assert item["metadata"]["labels"][PART_OF] == "kfp-textclf", item["metadata"]["name"]
        if "namespace" in item["metadata"] and item["kind"] != "DaemonSet":
            assert item["metadata"]["namespace"] == NAMESPACED[name]
    for binding in of(rendered[name], "RoleBinding"):
        accounts = {item["metadata"]["name"] for item in of(rendered[name], "ServiceAccount")}
        roles = {item["metadata"]["name"] for item in of(rendered[name], "Role")}
        assert binding["roleRef"]["name"] in roles
        assert all(
            subject["name"] in accounts and subject["namespace"] == NAMESPACED[name] for subject in binding["subjects"]
        )


@pytest.mark.parametrize("name", sorted({"base"} | OVERLAYS))
def test_the_namespace_enforces_the_restricted_profile(rendered, name):
    (namespace,) = of(rendered[name], "Namespace")
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert re.fullmatch(r"v1\.\d+", labels[f"pod-security.kubernetes.io/{mode}-version"])


def test_pods_of_the_namespace_satisfy_the_restricted_profile(rendered):
    assert not violations(runner_pod()["spec"])
    elsewhere = {}
    for objects in rendered.values():
        for item in objects:
            for spec in pods(item):
                if item["metadata"]["namespace"] == "kube-system":
                    elsewhere[item["metadata"]["name"]] = violations(spec)
                else:
                    assert not violations(spec), item["metadata"]["name"]
    # The one exception, and no wider than it has to be.
    assert elsewhere == {
        "nvidia-device-plugin": [
            "volumes.device-plugins: hostPath is not allowed",
            "nvidia-device-plugin.runAsNonRoot: must be true",
        ]
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("hostNetwork", True),
        ("volumes", [{"name": "x", "hostPath": {"path": "/"}}]),
        ("securityContext/runAsNonRoot", False),
        ("securityContext/runAsUser", 0),
        ("securityContext/seccompProfile", {"type": "Unconfined"}),
        ("securityContext/sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
        ("securityContext/seLinuxOptions", {"type": "spc_t"}),
        ("securityContext/appArmorProfile", {"type": "Unconfined"}),
        ("containers/0/securityContext", {}),
        ("containers/0/securityContext/privileged", True),
        ("containers/0/securityContext/runAsNonRoot", False),
        ("containers/0/securityContext/runAsUser", 0),
        ("containers/0/securityContext/allowPrivilegeEscalation", True),
        ("containers/0/securityContext/procMount", "Unmasked"),
        ("containers/0/securityContext/seccompProfile", {"type": "Unconfined"}),
        ("containers/0/securityContext/capabilities", {"drop": ["NET_RAW"]}),
        ("containers/0/securityContext/capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        ("containers/0/ports", [{"containerPort": 1, "hostPort": 1}]),
        ("initContainers", [{"name": "x", "image": "x"}]),
    ],
)
def test_the_check_of_the_restricted_profile_sees(path, value):
    spec = copy.deepcopy(runner_pod()["spec"])
    target: Any = spec
    *parents, field = [int(part) if part.isdigit() else part for part in path.split("/")]
    for parent in parents:
        target = target[parent]
    target[field] = value
    assert violations(spec)


def test_no_secret_object_and_no_secret_value(rendered):
    for objects in rendered.values():
        assert not of(objects, "Secret")
        assert not [item for item in objects if item["kind"] == "ConfigMap" and "data" in item]
    found = [
        f"{path.name}: {line}"
        for path in FILES
        for line in path.read_text(encoding="utf-8").splitlines()
        if looks_secret(line)
    ]
    assert not found
    assert not [
        path
        for path in FILES
        if re.search(r"^kind: Secret$|^\s*stringData:|secretGenerator", path.read_text(encoding="utf-8"), re.M)
    ]


@pytest.mark.parametrize(
    "value",
    [
        "AKIA" + "Q7" * 8,
        "ghp_" + "a1B2" * 9,
        "hf_" + "aBcD" * 9,
        "0f" * 20,
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "wJal7XUtnFEMIK7MDENGbPxRfi" + "CYEXAMPLEKEY",
    ],
)
def test_the_scan_sees_a_secret(value):
    assert looks_secret(f"  key: {value}")


def test_rights_have_no_wildcard_and_cannot_widen_themselves(rendered):
    for objects in rendered.values():
        assert not of(objects, "ClusterRole", "ClusterRoleBinding")
        for role in of(objects, "Role"):
            for rule in role["rules"]:
                values = [value for part in rule.values() for value in part]
                assert not [value for value in values if "*" in value]
                assert not {"bind", "escalate", "impersonate"} & set(rule["verbs"])
                assert not {"pods/exec", "serviceaccounts/token", "roles", "rolebindings"} & set(rule["resources"])
                if "secrets" in rule["resources"]:
                    assert rule["resourceNames"]
                    assert rule["verbs"] == ["get"]


@pytest.mark.parametrize("name", sorted({"base"} | OVERLAYS))
def test_network_is_closed_but_for_what_is_named(rendered, name):
    policies = {item["metadata"]["name"]: item["spec"] for item in of(rendered[name], "NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in policies.values():
        for rule in [*policy.get("egress", []), *policy.get("ingress", [])]:
            assert rule["ports"], "a rule without ports opens all of them"
            assert rule.get("to") or rule.get("from"), "a rule without peers opens everything"
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {})
                if block.get("cidr") == "0.0.0.0/0":
                    assert "169.254.0.0/16" in block["except"], (
                        "nodes' metadata servers hand out the nodes' credentials"
                    )
    ports = {
        port["port"] for policy in policies.values() for rule in policy.get("egress", []) for port in rule["ports"]
    }
    assert ports >= {53, 443, 8887, 8888, 8080, 8333, 9000}


@pytest.mark.parametrize("name", sorted({"base"} | OVERLAYS))
def test_quota_and_default_requests(rendered, name):
    (quota,) = of(rendered[name], "ResourceQuota")
    hard = quota["spec"]["hard"]
    assert hard.keys() >= {"pods", "requests.cpu", "requests.memory", "requests.nvidia.com/gpu"}
    (limits,) = of(rendered[name], "LimitRange")
    defaults = limits["spec"]["limits"][0]["defaultRequest"]
    counted = {key.removeprefix("requests.") for key in hard if key in {"requests.cpu", "requests.memory"}}
    assert counted <= defaults.keys(), "the quota would refuse containers that KFP adds without requests"
    assert not [key for key in hard if key.startswith("limits.")]


def test_every_priority_class_that_is_named_exists(rendered):
    for objects in rendered.values():
        known = {item["metadata"]["name"] for item in of(objects, "PriorityClass")}
        for spec in [pod for item in objects for pod in pods(item)]:
            named = spec.get("priorityClassName", "system-")
            assert named.startswith("system-") or named in known
    (priority,) = of(rendered["base"], "PriorityClass")
    assert priority["metadata"]["name"] in (validate.HERE / "README.md").read_text(encoding="utf-8")
    assert not priority["globalDefault"]


def tolerated(taint: dict[str, str], tolerations: list[dict[str, str]]) -> bool:
    """Tell whether a pod with these tolerations may be placed on a node with this taint."""
    return any(
        item.get("key") in (None, taint["key"])
        and item.get("effect") in (None, taint["effect"])
        and (item.get("operator") == "Exists" or item.get("value") == taint.get("value"))
        for item in tolerations
    )


def pools(name: str, objects: list[validate.Object]) -> Iterator[tuple[dict[str, str], list[dict[str, str]]]]:
    """Yield the labels and the taints of each GPU pool of an overlay."""
    for item in of(objects, "NodePool"):
        yield item["spec"]["template"]["metadata"]["labels"], item["spec"]["template"]["spec"]["taints"]
    for item in of(objects, "ComputeClass"):  # GKE taints its GPU nodes so
        taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
        yield {"cloud.google.com/compute-class": item["metadata"]["name"]}, [taint]
    if name == "kind":
        cluster = yaml.safe_load((validate.HERE / "overlays/kind/cluster.yaml").read_text(encoding="utf-8"))
        for node in [node for node in cluster["nodes"] if "labels" in node]:
            patch = yaml.safe_load(node["kubeadmConfigPatches"][0])
            yield node["labels"], patch["nodeRegistration"]["taints"]


@pytest.mark.parametrize("name", sorted(OVERLAYS))
def test_the_documented_parameters_reach_the_pool(rendered, name):
    text = (validate.HERE / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {name} \| `({{.*?}})` \| `(\[.*?\])` \|$", text, re.M)
    selector, tolerations = map(json.loads, row)
    found = list(pools(name, rendered[name]))
    assert found
    for labels, taints in found:
        assert selector.items() <= labels.items()
        assert taints, "without a taint any pod could land on a GPU node"
        assert all(tolerated(taint, tolerations) for taint in taints)
        assert not all(tolerated(taint, []) for taint in taints)


@pytest.mark.parametrize("name", ["eks", "aks"])
def test_spot_comes_first_and_nodes_in_use_are_left_alone(rendered, name):
    by_capacity = {}
    for pool in of(rendered[name], "NodePool"):
        spec = pool["spec"]["template"]["spec"]
        (capacity,) = [item["values"] for item in spec["requirements"] if item["key"] == "karpenter.sh/capacity-type"]
        by_capacity[tuple(capacity)] = pool["spec"]
        assert pool["spec"]["disruption"]["consolidationPolicy"] == "WhenEmpty"
        assert "terminationGracePeriod" not in spec, "it would end pods that ask not to be disrupted"
        assert "nvidia.com/gpu" in pool["spec"]["limits"]
        classes = {
            (item["apiVersion"].split("/")[0], item["kind"], item["metadata"]["name"]) for item in rendered[name]
        }
        reference = spec["nodeClassRef"]
        assert (reference["group"], reference["kind"], reference["name"]) in classes
    assert by_capacity[("spot",)]["weight"] > by_capacity[("on-demand",)]["weight"]


def test_gke_tries_spot_first_too(rendered):
    (item,) = of(rendered["gke"], "ComputeClass")
    assert [rule["spot"] for rule in item["spec"]["priorities"]] == [True, False]
    assert all(rule["gpu"]["count"] for rule in item["spec"]["priorities"])
    assert "activeMigration" not in item["spec"]


def test_every_file_with_a_placeholder_is_in_the_table():
    text = (validate.HERE / "README.md").read_text(encoding="utf-8")
    left = [
        path
        for path in FILES
        if path.suffix == ".yaml" and validate.PLACEHOLDER.search(path.read_text(encoding="utf-8"))
    ]
    assert left
    missing = [path.name for path in left if path.name not in text]
    assert not missing
