"""The whole stage: every variant, the baselines and the champion on the held-out rows."""

import csv
import hashlib
import io
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn import metrics
from stage_inputs import remains, rewritten

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.published import open_version
from kfp_textclf.components.common.scoring import OnnxClassifier
from kfp_textclf.components.evaluate.evaluation_report import evaluation_blocks, mistakes
from kfp_textclf.components.evaluate.gate import GateSettings
from kfp_textclf.components.evaluate.measuring import Measured
from kfp_textclf.components.evaluate.stage import Evaluation, evaluate
from kfp_textclf.components.publish.stage import publish

LENIENT = GateSettings(floor=-1.0, max_int8_drop=2.0, min_baseline_gain=-2.0)
FIGURES = {
    "balanced_accuracy",
    "weighted_f1",
    *("accuracy", "macro_f1", "matthews_correlation", "size_bytes"),
    *("temperature", "ece", "brier", "nll", "uncalibrated_ece", "uncalibrated_brier", "uncalibrated_nll"),
    *("latency_ms_p50", "latency_ms_p99", "rows_per_second"),
}


@pytest.fixture
def judged(exported: SimpleNamespace, prepared: Path, tmp_path: Path):
    """Evaluate again, with some inputs changed."""

    def call(dataset: Path = prepared, int8: Path = exported.int8, **options: object) -> Evaluation:
        options = {"settings": LENIENT, **options}
        return evaluate(str(dataset), str(exported.onnx), str(int8), str(tmp_path / "out"), **options)  # type: ignore[arg-type]

    return call


def test_every_variant_has_every_figure(evaluated: SimpleNamespace) -> None:
    assert set(evaluated.result.variants) == {"torch", "onnx", "onnx_int8"}
    for figures in evaluated.result.variants.values():
        assert set(figures) == FIGURES
        assert all(map(math.isfinite, figures.values()))


def test_quality_is_that_of_the_published_files_on_the_test_rows(
    evaluated: SimpleNamespace, exported: SimpleNamespace, prepared: Path
) -> None:
    rows = pq.read_table(prepared / "test.parquet").to_pydict()
    classifier = OnnxClassifier(exported.int8)
    predicted = [classifier.labels[i] for i in classifier.probabilities(rows["text"]).argmax(axis=1)]
    figures = evaluated.result.variants["onnx_int8"]
    assert figures["accuracy"] == pytest.approx(metrics.accuracy_score(rows["label"], predicted))
    assert figures["matthews_correlation"] == pytest.approx(metrics.matthews_corrcoef(rows["label"], predicted))
    expected = metrics.confusion_matrix(rows["label"], predicted, labels=["fare", "flight", "meal"])
    assert evaluated.result.confusion_matrix == expected.tolist()


def test_artifact_holds_the_figures_and_drawings(evaluated: SimpleNamespace) -> None:
    content = read_json(verified(evaluated.directory) / "metrics.json")
    assert content["variants"] == evaluated.result.variants
    assert content["verdict"] == "promote"
    assert content["rows"] == sum(map(sum, content["confusion_matrix"]))
    assert set(content["baselines"]) == {"majority", "tfidf_svm"}
    assert content["baselines"]["majority"]["matthews_correlation"] == 0
    for name in ("confusion_matrix.png", "variants.png", "confidence.png"):
        assert (evaluated.directory / name).read_bytes().startswith(b"\x89PNG")


def test_roc_is_finite_and_grows(evaluated: SimpleNamespace) -> None:
    false_positive, true_positive, thresholds = map(np.array, evaluated.result.roc)
    assert len(false_positive) == len(true_positive) == len(thresholds) <= 100
    assert np.isfinite([false_positive, true_positive, thresholds]).all()
    assert thresholds.max() <= 1
    assert (np.diff(false_positive) >= 0).all()
    assert (np.diff(true_positive) >= 0).all()
    assert (false_positive[-1], true_positive[-1]) == (1, 1)


def test_mistakes_are_listed_the_most_confident_first() -> None:
    probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], dtype=np.float32)
    found = mistakes(["a", "b", "c", "d"], np.array([1, 0, 1, 0]), probabilities, ["x", "y"])
    assert [(m["text"], m["label"], m["predicted"]) for m in found] == [("b", "x", "y"), ("a", "y", "x")]
    assert [m["probability"] for m in found] == pytest.approx([0.9, 0.6])


def test_reports_name_the_verdict(evaluated: SimpleNamespace) -> None:
    for report in (evaluated.result.report_html, evaluated.result.report_markdown):
        assert "Promote" in report
        assert "Misclassified texts, int8" in report
        assert "ONNX int8" in report


def test_texts_of_the_data_are_escaped_in_the_report(evaluated: SimpleNamespace) -> None:
    from kfp_textclf.components.common.report import render_html

    content = read_json(evaluated.directory / "metrics.json")
    evil = {"text": "<script>x", "label": "fare", "predicted": "meal", "probability": 0.9}
    html = render_html("t", "s", evaluation_blocks({**content, "mistakes": [evil]}))
    assert "<script>x" not in html
    assert "&lt;script&gt;x" in html


def test_model_below_the_floor_is_rejected_and_the_run_ends_well(judged, tmp_path: Path) -> None:
    result = judged(settings=GateSettings(floor=1.5))
    assert result.verdict == "reject"
    assert "below the floor 1.5" in result.reason
    assert read_json(verified(tmp_path / "out") / "metrics.json")["verdict"] == "reject"


def test_champion_is_scored_on_the_same_rows(judged, exported: SimpleNamespace) -> None:
    result = judged(champion_uri=exported.int8.as_uri())
    int8 = result.variants["onnx_int8"]["matthews_correlation"]
    assert result.verdict == "promote"
    assert f"against the champion's {int8:.4f}: no significant difference (+0.0000" in result.reason
    assert "Against the champion onnx_int8" in result.report_html
    assert "Against the champion onnx" in result.report_markdown


def test_champion_that_is_better_beyond_chance_stays(
    judged, exported: SimpleNamespace, prepared: Path, tmp_path: Path
) -> None:
    """A challenger that confuses two classes does not replace the champion, unless its drop is allowed."""
    config = read_json(exported.int8 / "config.json")
    config["id2label"] = {"0": "flight", "1": "fare", "2": "meal"}
    swapped = rewritten(exported.int8, tmp_path / "swapped", {"config.json": json.dumps(config)})
    graph = rewritten(exported.int8, tmp_path / "champion", {})
    # The labels of the challenger must be those of the data, so its classes are swapped in the data instead.
    tables = {}
    for split in ("train", "validation", "test"):
        table = pq.read_table(prepared / f"{split}.parquet").to_pydict()
        table["label"] = [{"fare": "flight", "flight": "fare", "meal": "meal"}[label] for label in table["label"]]
        pq.write_table(pa.table(table), tmp_path / "t.parquet")
        tables[f"{split}.parquet"] = (tmp_path / "t.parquet").read_bytes()
    data = rewritten(prepared, tmp_path / "data", tables)
    rejected = judged(dataset=data, int8=graph, champion_uri=swapped.as_uri())
    assert rejected.verdict == "reject"
    assert "significantly worse" in rejected.reason
    comparison = read_json(tmp_path / "out" / "metrics.json")["champion"]["comparison"]
    assert comparison["only_second_right"] < comparison["only_first_right"]
    assert comparison["only_first_right"] > 10
    assert comparison["mcnemar_p"] < 0.001
    lenient = GateSettings(-1.0, 2.0, -2.0, max_champion_drop=2.0)
    assert judged(dataset=data, int8=graph, champion_uri=swapped.as_uri(), settings=lenient).verdict == "promote"


def test_predictions_hold_hashes_and_no_texts(evaluated: SimpleNamespace, prepared: Path) -> None:
    rows = pq.read_table(prepared / "test.parquet").to_pydict()
    text = (evaluated.directory / "predictions.csv").read_text(encoding="utf-8")
    table = list(csv.DictReader(io.StringIO(text)))
    assert list(table[0]) == ["text_hash", "actual", "predicted", "probability"]
    assert [row["actual"] for row in table] == rows["label"]
    assert [row["text_hash"] for row in table] == [hashlib.sha256(t.encode()).hexdigest()[:16] for t in rows["text"]]
    assert not [t for t in rows["text"] if t in text]


def test_profile_of_the_data_comes_along(judged, prepared: Path, tmp_path: Path) -> None:
    judged(dataset=rewritten(prepared, tmp_path / "a", {"profile.json": None, "fingerprints.parquet": None}))
    assert not {"profile.json", "fingerprints.parquet"} & set(remains(tmp_path / "out"))
    profile = {"profile.json": '{"rows": 3}', "fingerprints.parquet": b"PAR1"}
    judged(dataset=rewritten(prepared, tmp_path / "b", profile))
    assert read_json(verified(tmp_path / "out") / "profile.json") == {"rows": 3}
    assert (tmp_path / "out" / "fingerprints.parquet").read_bytes() == b"PAR1"


def test_report_is_small_and_names_calibration(evaluated: SimpleNamespace) -> None:
    assert len(evaluated.result.report_html.encode()) < 1_000_000
    for report in (evaluated.result.report_html, evaluated.result.report_markdown):
        assert "Calibration" in report
        assert "Answering only when sure" in report


def test_champion_with_other_labels_is_scored(judged, exported: SimpleNamespace, tmp_path: Path) -> None:
    config = read_json(exported.int8 / "config.json")
    config["id2label"] = {"0": "other", "1": "flight", "2": "meal"}
    champion = rewritten(exported.int8, tmp_path / "champion", {"config.json": json.dumps(config)})
    assert judged(champion_uri=champion.as_uri()).verdict == "promote"
    content = read_json(tmp_path / "out" / "metrics.json")
    assert content["champion"]["matthews_correlation"] < content["variants"]["onnx_int8"]["matthews_correlation"]


def test_baselines_never_see_the_test_rows(judged, prepared: Path, tmp_path: Path) -> None:
    """With labels shuffled in train and validation, only a baseline that peeks could still be right."""
    changed = {}
    for split in ("train", "validation"):
        table = pq.read_table(prepared / f"{split}.parquet").to_pydict()
        table["label"] = [{"fare": "meal", "meal": "flight", "flight": "fare"}[label] for label in table["label"]]
        pq.write_table(pa.table(table), tmp_path / "t.parquet")
        changed[f"{split}.parquet"] = (tmp_path / "t.parquet").read_bytes()
    judged(dataset=rewritten(prepared, tmp_path / "shuffled", changed))
    assert read_json(tmp_path / "out" / "metrics.json")["baselines"]["tfidf_svm"]["accuracy"] < 0.2


def test_model_of_another_data_set_is_refused(judged, exported: SimpleNamespace, tmp_path: Path) -> None:
    config = read_json(exported.int8 / "config.json")
    config["id2label"] = {"0": "x", "1": "y", "2": "z"}
    other = rewritten(exported.int8, tmp_path / "other", {"config.json": json.dumps(config)})
    with pytest.raises(UserError, match="knows other labels than the data set"):
        judged(int8=other)
    assert "out" not in remains(tmp_path)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("s3:/bucket", "champion_uri='s3:/bucket': is not of the form file:///absolute/path or s3://bucket/prefix"),
        (
            "file:///no/such/version",
            "champion_uri='file:///no/such/version': is neither a published version nor a store with a champion",
        ),
    ],
)
def test_champion_that_cannot_be_had_is_named(judged, tmp_path: Path, uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        judged(champion_uri=uri)
    assert remains(tmp_path) == []


def test_tampered_model_is_refused(judged, exported: SimpleNamespace, tmp_path: Path) -> None:
    copy = rewritten(exported.int8, tmp_path / "copy", {})
    with (copy / "model.int8.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"model\.int8\.onnx: differs from its manifest"):
        judged(int8=copy)


def test_first_variant_that_passes_is_chosen(judged, exported: SimpleNamespace, tmp_path: Path) -> None:
    """The smallest one answers the same class always; the larger one passes."""
    graph = onnx.load(exported.int8 / "model.int8.onnx")
    bias = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [3] and tensor.data_type == 1)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.array([99, 0, 0], dtype=np.float32), bias.name))
    served = ("model.onnx", "tokenizer.json", "config.json", "calibration.json")
    larger = {f"fp32/{name}": (exported.onnx / name).read_bytes() for name in served}
    model = rewritten(exported.int8, tmp_path / "model", {"model.int8.onnx": graph.SerializeToString(), **larger})
    result = judged(int8=model, settings=GateSettings(floor=0.1, max_int8_drop=0.1, min_baseline_gain=-2.0))
    assert (result.verdict, result.shipped) == ("promote", "onnx_fp32"), result.reason
    assert result.reason.startswith("fp32 MCC")
    assert result.variants["onnx_int8"]["matthews_correlation"] == 0
    content = read_json(tmp_path / "out" / "metrics.json")
    assert content["shipped"] == "onnx_fp32"
    assert np.array_equal(content["confusion_matrix"], result.confusion_matrix)
    assert np.trace(result.confusion_matrix) > sum(map(sum, result.confusion_matrix)) / 3
    assert "Confusion matrix, fp32" in result.report_html
    published = publish(str(model), str(tmp_path / "out"), str(tmp_path / "published"), publish_to=tmp_path.as_uri())
    version = open_version(published.uri)
    assert (version / "model.onnx").read_bytes() == larger["fp32/model.onnx"]
    assert not (version / "model.int8.onnx").exists()
    figures = ModelStore.open(tmp_path.as_uri()).metrics(published.version)
    assert figures["matthews_correlation"] == result.variants["onnx_fp32"]["matthews_correlation"]
    rejected = judged(int8=model, settings=GateSettings(floor=1.5))
    assert (rejected.verdict, rejected.shipped) == ("reject", "onnx_fp32"), "the last one tried"


@pytest.mark.parametrize(("prefer", "order"), [("smallest", ["b", "a", "c"]), ("fastest", ["c", "b", "a"])])
def test_variants_are_tried_by_preference(prefer: str, order: list[str]) -> None:
    figures = {
        name: {"size_bytes": size, "rows_per_second": speed}
        for name, size, speed in (("a", 20, 1.0), ("b", 10, 2.0), ("c", 30, 3.0), ("torch", 1, 9.0))
    }
    answers: dict = dict.fromkeys("abc")
    assert Measured(np.zeros(0, dtype=int), answers, figures, {}).by_preference(prefer) == order
