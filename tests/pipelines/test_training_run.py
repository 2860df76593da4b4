"""What a run is compared with, by what earlier runs left."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.pipelines.params import load_params
from kfp_textclf.pipelines.training_run import pipeline_arguments

PUBLISHED = [{"name": "train-classifier", "state": "SUCCEEDED"}, {"name": "publish-model", "state": "SUCCEEDED"}]


@pytest.fixture
def arguments(project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the arguments that a run would have now."""
    monkeypatch.chdir(project.root)

    def now(*overrides: str) -> dict[str, Any]:
        return pipeline_arguments(load_params(Path("params.yaml"), overrides), project.root, project.runs)

    return now


@pytest.fixture
def store(project: SimpleNamespace) -> ModelStore:
    return ModelStore.open((project.runs / "store" / "tiny").as_uri())


def publish(store: ModelStore, directory: Path, content: str, before: str) -> str:
    """Make a new champion; return its URI."""
    (directory / "model.onnx").write_text(content)
    version = store.add({"model.onnx": directory / "model.onnx"}, "test")
    store.promote(version, before, {})
    return store.uri_of(version)


def record(runs: Path, name: str, content: Any) -> None:
    (runs / name).mkdir(parents=True)
    (runs / name / "metrics.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_what_made_the_champion_is_judged_against_the_one_before(
    project: SimpleNamespace, arguments: Any, store: ModelStore
) -> None:
    first = arguments()
    assert first["champion_uri"] == "none"
    champion = publish(store, project.root, "first", "")
    assert arguments()["champion_uri"] == champion
    record(project.runs, "1-killed", {"state": "RUNNING", "arguments": first, "steps": PUBLISHED[:1]})
    assert arguments()["champion_uri"] == champion, "it has not come to publish"
    record(project.runs, "2-killed", {"state": "RUNNING", "arguments": first, "steps": PUBLISHED})
    assert arguments()["champion_uri"] == "none"
    assert arguments("seed=14")["champion_uri"] == champion
    newer = publish(store, project.root, "second", champion)
    assert arguments()["champion_uri"] == newer, "another run has published since"


@pytest.mark.parametrize("content", ['{"arguments": {', "[]", "{}", '{"arguments": 1}', '{"steps": [1]}'])
def test_damaged_record_of_another_run_is_passed_over(
    project: SimpleNamespace, arguments: Any, store: ModelStore, content: str
) -> None:
    champion = publish(store, project.root, "first", "")
    record(project.runs, "1-damaged", content)
    assert arguments()["champion_uri"] == champion


def test_latest_that_is_no_link_is_left_alone(project: SimpleNamespace) -> None:
    (project.runs / "latest").mkdir(parents=True)
    (project.runs / "latest" / "notes.txt").write_text("precious")
    done = project.run("run")
    assert (done.code, done.err) == (2, "error: runs/latest: is no link to the newest run; move it away\n")
    assert (project.runs / "latest" / "notes.txt").read_text() == "precious"
    assert [path.name for path in project.runs.iterdir() if path.name.startswith("2")] == []
