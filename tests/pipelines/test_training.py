import re
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from kfp_textclf.pipelines.generate import PIPELINE_NAMES, generated_files, write_or_check
from kfp_textclf.pipelines.params import Cluster, load_params
from kfp_textclf.pipelines.sources import COMPONENTS, PIPELINES

ROOT = COMPONENTS.parent
YAML_FILES = [*(PIPELINES / f"{name}.yaml" for name in PIPELINE_NAMES), *sorted(COMPONENTS.glob("*/component.yaml"))]


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def test_generated_files_are_committed_as_their_sources_make_them():
    assert write_or_check(generated_files(), check=True) == []


def test_check_names_a_file_that_drifted(tmp_path: Path):
    drifted = tmp_path / "component.yaml"
    drifted.write_text("old", encoding="utf-8")
    assert [path.name for path in write_or_check({drifted: "new"}, check=True)] == ["component.yaml"]
    assert drifted.read_text(encoding="utf-8") == "old"
    assert write_or_check({drifted: "new"}, check=False)
    assert drifted.read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_is_a_pipeline_spec_that_installs_nothing_at_run_time(path: Path):
    spec = documents(path)[0]
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())  # type: ignore[attr-defined]
    assert spec["schemaVersion"] == "2.1.0"
    for name, executor in spec["deploymentSpec"]["executors"].items():
        container = executor["container"]
        assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+", container["image"]), name
        assert "pip install" not in " ".join(container["command"]), name


def test_each_parameter_of_params_yaml_is_an_argument_of_the_pipeline_with_the_same_default():
    inputs = documents(PIPELINES / "training.yaml")[0]["root"]["inputDefinitions"]["parameters"]
    arguments = load_params(ROOT / "params.yaml").arguments()
    elsewhere = {"dataset_pin", "train_file", "test_file", "champion_uri"}
    assert set(inputs) == set(arguments) | elsewhere | set(Cluster.model_fields)
    cluster_default = {
        "base_model",
        "prices",
        "publish_to",
    }  # a laptop starts from a packaged model and publishes beside its runs
    differing = {n for n, v in arguments.items() if inputs[n].get("defaultValue") != v}
    assert differing == cluster_default


def test_publishing_is_never_cached_and_everything_else_is():
    spec = documents(PIPELINES / "training.yaml")[0]
    dags = [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]
    caching = {
        name: task["cachingOptions"].get("enableCache", False)
        for dag in dags
        for name, task in dag["tasks"].items()
        if "dag" not in spec["components"][task["componentRef"]["name"]]
    }
    for task in ("preflight-run", "publish-model", "record-run"):
        assert caching.pop(task) is False, task
    assert set(caching) == {
        "ingest-dataset",
        "prepare-dataset",
        "compare-dataset",
        "train-classifier",
        "export-onnx",
        "evaluate-model",
    }
    assert all(caching.values())


def test_a_new_champion_retrains_nothing_but_what_it_refuses_is_not_trained_on():
    tasks = documents(PIPELINES / "training.yaml")[0]["root"]["dag"]["tasks"]
    for name in ("ingest-dataset", "prepare-dataset", "train-classifier"):
        parameters = tasks[name]["inputs"]["parameters"].values()
        assert "champion_uri" not in {source.get("componentInputParameter") for source in parameters}
    assert "compare-dataset" in tasks["train-classifier"]["dependentTasks"]
    artifacts = tasks["train-classifier"]["inputs"]["artifacts"].values()
    assert {source["taskOutputArtifact"]["producerTask"] for source in artifacts} == {"prepare-dataset"}
