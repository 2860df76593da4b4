"""The components themselves: what importing costs, what they document, and that their functions run."""

import hashlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp import compiler, dsl

from kfp_textclf import components

NAMES = sorted(dir(components))
HEAVY = ("kfp", "torch", "transformers", "sklearn", "matplotlib", "onnx", "onnxruntime", "pyarrow", "pandas", "pandera")


def loaded_after(statement: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys, json\n{statement}\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import kfp_textclf.components as c; dir(c)") == set()


@pytest.mark.parametrize("stage", sorted(components._FOLDER_OF.values()))
def test_importing_a_stage_loads_nothing_heavy(stage: str) -> None:
    assert loaded_after(f"import kfp_textclf.components.{stage}.stage") == set()


def test_components_are_found_by_name_when_asked_for() -> None:
    assert set(NAMES) <= set(dir(components))
    assert len(NAMES) == 11
    with pytest.raises(AttributeError, match="has no attribute 'no_such_component'"):
        _ = components.no_such_component


@pytest.mark.parametrize("name", NAMES)
def test_docstring_documents_every_parameter(name: str) -> None:
    function = getattr(components, name).python_func
    documentation = inspect.getdoc(function) or ""
    arguments = documentation.partition("Args:\n")[2].partition("\nReturns:\n")[0]
    documented = re.findall(r"^    (\w+): \S", arguments, flags=re.MULTILINE)
    assert documented == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_component_installs_nothing_at_run_time(name: str, tmp_path: Path) -> None:
    compiler.Compiler().compile(getattr(components, name), str(tmp_path / "component.yaml"))
    specification = yaml.safe_load((tmp_path / "component.yaml").read_text())
    (executor,) = specification["deploymentSpec"]["executors"].values()
    command = " ".join(map(str, executor["container"]["command"]))
    assert not re.search(r"\bpip\b|PIP_", command)
    assert "/kfp-textclf-" in executor["container"]["image"]
    assert executor["container"]["image"].partition(":")[2] not in ("", "latest")


@pytest.mark.parametrize("name", NAMES)
def test_component_has_no_logic_of_its_own(name: str) -> None:
    source = inspect.getsource(getattr(components, name).python_func)
    assert not re.search(r"^    (if|for|while|try|with) ", source, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def outputs(raw: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Every component's function called in turn, with KFP's own artifact objects, as an executor calls it."""
    root = tmp_path_factory.mktemp("components")

    def artifact(kind: type, name: str) -> dsl.Artifact:
        return kind(name=name, uri=str(root / name), metadata={})

    made = SimpleNamespace(root=root)
    kinds = {
        "raw": dsl.Dataset,
        "dataset": dsl.Dataset,
        "model": dsl.Model,
        "onnx": dsl.Model,
        "onnx_int8": dsl.Model,
        "comparison": dsl.Artifact,
        "evaluation": dsl.Artifact,
        "classification": dsl.ClassificationMetrics,
        "report": dsl.HTML,
        "summary": dsl.Markdown,
        "published": dsl.Model,
        **dict.fromkeys(("metrics", "torch_metrics", "onnx_metrics", "onnx_int8_metrics"), dsl.Metrics),
    }

    def call(component: str, values: dict, *, inputs: tuple[str, ...] = ()) -> object:
        function = getattr(components, component).python_func
        wanted = [name for name in inspect.signature(function).parameters if name in kinds]
        new = {name: artifact(kinds[name], f"{component}-{name}") for name in wanted if name not in inputs}
        answer = function(**{name: getattr(made, name) for name in inputs}, **new, **values)
        vars(made).update({name: new[name] for name in new if name not in ("metrics", "report")})
        vars(made).update({f"{component}_{name}": new[name] for name in new if name in ("metrics", "report")})
        return answer

    files = [
        {
            "path": path.name,
            "md5": hashlib.md5(path.read_bytes()).hexdigest(),
            "size": float(path.stat().st_size),
            "uri": path.as_uri(),
        }
        for path in sorted(raw.glob("*.csv"))
    ]
    base = {"base_model": tiny_model.as_uri(), "seed": 13}
    call("ingest_dataset", {"dataset_pin": {"store": raw.as_uri(), "git_rev": "", "files": files}})
    names = {"train_file": "train.csv", "test_file": "test.csv"}
    call("prepare_dataset", {**base, **names, "max_length": 32}, inputs=("raw",))
    call("compare_dataset", {}, inputs=("dataset",))
    training = {"epochs": 4, "learning_rate": 3e-3, "batch_size": 16, "freeze_embeddings": False, "precision": "fp32"}
    call("train_classifier", {**base, **training}, inputs=("dataset",))
    call("export_onnx", {}, inputs=("model", "dataset"))
    gate = {"floor": 0.0, "max_int8_drop": 1.0, "min_baseline_gain": -2.0}
    made.answer = call("evaluate_model", gate, inputs=("dataset", "onnx", "onnx_int8"))
    made.model = made.onnx_int8
    call("publish_model", {"publish_to": (root / "store").as_uri()}, inputs=("model", "evaluation"))
    return made


def test_chain_of_components_publishes_a_model(outputs: SimpleNamespace) -> None:
    assert outputs.answer[0] == "promote", outputs.answer
    version = outputs.published.metadata["version"]
    assert (outputs.root / "store" / "versions" / version / "model.int8.onnx").is_file()
    assert outputs.published.framework == "onnx"


def test_artifacts_carry_metadata_that_a_dashboard_can_show(outputs: SimpleNamespace) -> None:
    for name in ("raw", "dataset", "comparison", "model", "onnx", "onnx_int8", "evaluation", "published"):
        metadata = getattr(outputs, name).metadata
        assert metadata, name
        json.dumps(metadata, allow_nan=False)
    assert outputs.dataset.metadata["rows"]["train"] > 0
    assert outputs.onnx_int8.metadata["variant"] == "onnx_int8"


@pytest.mark.parametrize(
    "name",
    [
        "prepare_dataset_metrics",
        "train_classifier_metrics",
        "export_onnx_metrics",
        "torch_metrics",
        "onnx_int8_metrics",
    ],
)
def test_metrics_are_logged_and_written(outputs: SimpleNamespace, name: str) -> None:
    metrics = getattr(outputs, name)
    assert metrics.metadata
    assert json.loads(Path(metrics.path).read_text()) == metrics.metadata
    json.dumps(metrics.metadata, allow_nan=False)


def test_classification_metrics_are_finite_and_complete(outputs: SimpleNamespace) -> None:
    metadata = outputs.classification.metadata
    json.dumps(metadata, allow_nan=False)
    assert len(metadata["confusionMatrix"]["rows"]) == 3
    assert metadata["confidenceMetrics"]


@pytest.mark.parametrize("stage", ["prepare_dataset", "compare_dataset", "train_classifier", "evaluate_model"])
def test_reports_are_whole_pages(outputs: SimpleNamespace, stage: str) -> None:
    html = Path(getattr(outputs, f"{stage}_report").path).read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert html.rstrip().endswith("</html>")


def test_summary_is_markdown(outputs: SimpleNamespace) -> None:
    assert Path(outputs.summary.path).read_text(encoding="utf-8").startswith("## Evaluation")
