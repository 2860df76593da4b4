"""What every compiled pipeline asks of a cluster; pipelines that are added later are held to it too."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines import params
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.sources import COMPONENTS, PIPELINES

COMPILED = sorted(PIPELINES.glob("*.yaml"))
CLUSTER = ("gpu_type", "gpu_count", "cpu", "memory", "node_selector", "tolerations")
GPU_IMAGE = "/kfp-textclf-gpu:"
every_pipeline = pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pipeline spec and the settings of its executors for Kubernetes."""
    spec, platform = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks that run in pods, by the label of their executor."""
    found = {}
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
            if label:
                found[label] = task
    return found


def test_there_are_pipelines() -> None:
    assert {path.stem for path in COMPILED} >= {"training", "sweep"}


@every_pipeline
def test_protos_parse_and_images_are_pinned(path: Path) -> None:
    spec, _ = load(path)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # type: ignore[attr-defined]
    platform = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))[1]
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())  # type: ignore[attr-defined]
    for executor in spec["deploymentSpec"]["executors"].values():
        tag = executor["container"]["image"].rpartition("/")[2].partition(":")[2]
        assert tag
        assert tag != "latest"
        assert not re.search(r"\bpip3? install\b|PIP_", " ".join(executor["container"]["command"]))


@every_pipeline
def test_every_executor_has_resources_retries_a_timeout_and_is_not_root(path: Path) -> None:
    spec, settings = load(path)
    by_executor = tasks(spec)
    executors = spec["deploymentSpec"]["executors"]
    assert set(settings) == set(executors) == set(by_executor)
    for name, executor in executors.items():
        resources = executor["container"]["resources"]
        for bound in ("resourceCpuLimit", "resourceCpuRequest", "resourceMemoryLimit", "resourceMemoryRequest"):
            assert resources.get(bound), (name, bound)
        retry = by_executor[name]["retryPolicy"]
        assert retry["maxRetryCount"] >= 1, name
        assert retry["backoffFactor"] > 1, name
        assert retry["backoffDuration"] != "0s", name
        limit = int(settings[name]["activeDeadlineSeconds"])
        assert 0 < limit <= 24 * 3600, name
        whole = int(retry["backoffMaxDuration"].removesuffix("s"))
        assert whole > (retry["maxRetryCount"] + 1) * limit, f"{name}: no attempt is begun after {whole} s"
        assert settings[name]["imagePullPolicy"] == "IfNotPresent", name
        assert settings[name]["securityContext"]["runAsNonRoot"] is True, name
        assert int(settings[name]["securityContext"]["runAsUser"]) == 1000, name
        labels = settings[name]["podMetadata"]["labels"]
        assert {"kfp-textclf/pipeline", "kfp-textclf/step"} <= set(labels), name
        assert labels["azure.workload.identity/use"] == "true", name


@every_pipeline
def test_pool_of_the_training_is_chosen_when_it_is_submitted(path: Path) -> None:
    spec, settings = load(path)
    executors = spec["deploymentSpec"]["executors"]
    training = [name for name, executor in executors.items() if GPU_IMAGE in executor["container"]["image"]]
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    types = {name: inputs[name]["parameterType"] for name in CLUSTER}
    assert types == {**dict.fromkeys(CLUSTER, "STRING"), "node_selector": "STRUCT", "tolerations": "LIST"}
    assert training
    for name in training:
        resources, chosen = executors[name]["container"]["resources"], settings[name]
        accelerator = resources["accelerator"]
        values = [accelerator["resourceType"], accelerator["resourceCount"], *map(str, resources.values())]
        assert all("$.inputs.parameters" in value for value in values), name
        assert "node_selector" in chosen["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"]
        assert "tolerations" in chosen["tolerations"][0]["tolerationJson"]["componentInputParameter"]
        (shm,) = chosen["emptyDirMounts"]
        assert (shm["mountPath"], shm["medium"]) == ("/dev/shm", "Memory")
        assert chosen["podMetadata"]["annotations"]["karpenter.sh/do-not-disrupt"] == "true"
    for name in set(executors) - set(training):
        assert "accelerator" not in executors[name]["container"]["resources"], name


@every_pipeline
def test_secrets_are_named_by_parameters_and_may_be_absent(path: Path) -> None:
    spec, settings = load(path)
    named = [(name, secret) for name, executor in settings.items() for secret in executor.get("secretAsEnv", ())]
    assert named
    for name, secret in named:
        assert secret["optional"] is True, name
        source = secret["secretNameParameter"]["componentInputParameter"]
        assert source.removeprefix("pipelinechannel--") in spec["root"]["inputDefinitions"]["parameters"]


@every_pipeline
def test_every_parameter_reaches_the_tasks_that_name_it(path: Path) -> None:
    """In loops and nested pipelines too, where the compiler forgets what only the resources of a task name."""
    spec, _ = load(path)
    for component in [spec["root"], *spec["components"].values()]:
        given = set(component.get("inputDefinitions", {}).get("parameters", {}))
        iterators = {
            task.get("parameterIterator", {}).get("itemInput")
            for task in component.get("dag", {}).get("tasks", {}).values()
        }
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            for source in task.get("inputs", {}).get("parameters", {}).values():
                wanted = source.get("componentInputParameter")
                assert wanted is None or wanted in given | iterators, (name, wanted)


@every_pipeline
def test_preflight_comes_before_everything_and_is_never_cached(path: Path) -> None:
    spec, _ = load(path)
    root = spec["root"]["dag"]["tasks"]
    first = [name for name, task in root.items() if not task.get("dependentTasks")]
    assert first == ["preflight-run"]
    assert not root["preflight-run"]["cachingOptions"].get("enableCache")


def test_resources_of_a_step_follow_the_arguments() -> None:
    package = Package.load(PIPELINES / "training.yaml")
    default = package.resources({})
    assert set(default) == set(package.steps)
    assert default["train-classifier"] == (4.0, 1)
    assert default["preflight-run"] == (0.5, 0)
    assert package.resources({"gpu_count": "2", "cpu": "1500m"}) == {**default, "train-classifier": (1.5, 2)}


def test_defaults_of_params_yaml_are_those_of_the_pipelines() -> None:
    cluster = params.load_params(COMPONENTS.parent / "params.yaml").cluster.model_dump()
    assert cluster == params.Cluster().model_dump()
    for path in COMPILED:
        inputs = load(path)[0]["root"]["inputDefinitions"]["parameters"]
        assert {name: inputs[name]["defaultValue"] for name in cluster} == cluster


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cluster.gpu_count=two", r"^cluster\.gpu_count='two': "),
        ("cluster.gpu_count=-1", r"^cluster\.gpu_count='-1': "),
        ("cluster.memory=lots", r"^cluster\.memory='lots': "),
        ("cluster.gpu_type=gpu", r"^cluster\.gpu_type='gpu': "),
        ("cluster.s3_secret=My Secret", r"^cluster\.s3_secret='My Secret': "),
        ("cluster.node_selector=[a]", r"^cluster\.node_selector=\['a'\]: "),
        ("cluster.gpus=1", r"^cluster\.gpus: unknown parameter"),
    ],
)
def test_malformed_setting_of_the_cluster_is_refused(tmp_path: Path, override: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text("dataset: mine\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        params.load_params(tmp_path / "params.yaml", [override])


def test_a_number_of_gpus_is_passed_on_as_text(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("dataset: mine\ncluster: {gpu_count: 2, cpu: 8}\n", encoding="utf-8")
    cluster = params.load_params(tmp_path / "params.yaml").cluster
    assert (cluster.gpu_count, cluster.cpu) == ("2", "8")
