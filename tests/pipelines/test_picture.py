"""The picture of the compiled pipeline."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest
import yaml

from kfp_textclf.pipelines.generate import PICTURE
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.picture import picture
from kfp_textclf.pipelines.sources import PIPELINES

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def compiled() -> dict:
    return next(yaml.safe_load_all((PIPELINES / "training.yaml").read_text(encoding="utf-8")))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_picture_shows_every_step_once_in_an_order_that_they_can_run_in():
    shown = texts(PICTURE.read_text(encoding="utf-8"))
    steps = [f"{first}-{second}" for first, second in itertools.pairwise(shown)]
    boxes = [step for step in steps if step in Package.load(PIPELINES / "training.yaml").steps]
    assert boxes == [
        "preflight-run",
        "ingest-dataset",
        "prepare-dataset",
        "compare-dataset",
        "train-classifier",
        "export-onnx",
        "evaluate-model",
        "publish-model",
        "record-run",
    ]
    assert shown.count("if promoted") == 1


def test_picture_follows_the_pipeline(compiled: dict):
    del compiled["root"]["dag"]["tasks"]["compare-dataset"]
    for step in ("train-classifier", "record-run"):
        compiled["root"]["dag"]["tasks"][step]["dependentTasks"].remove("compare-dataset")
    del compiled["root"]["dag"]["tasks"]["record-run"]["inputs"]["artifacts"]["comparison"]
    del compiled["root"]["dag"]["tasks"]["train-classifier"]["inputs"]["parameters"]["checkpoint_uri"]
    compiled["pipelineInfo"]["name"] = "<b>&"
    svg = picture(yaml.safe_dump(compiled))
    assert "compare" not in texts(svg)
    assert {"train", "dataset", "onnx_int8"} <= set(texts(svg))
    title = ElementTree.fromstring(svg).find(f"{SVG}title")
    assert title is not None
    assert str(title.text).startswith("<b>&: preflight-run")


def test_picture_needs_no_network():
    assert "http" not in PICTURE.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
