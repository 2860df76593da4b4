"""The component ``evaluate_model``."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from kfp_textclf.components import images


@dsl.component(base_image=images.CPU, packages_to_install=[], install_kfp_package=False)
def evaluate_model(
    dataset: Input[Dataset],
    onnx: Input[Model],
    onnx_int8: Input[Model],
    evaluation: Output[Artifact],
    torch_metrics: Output[Metrics],
    onnx_metrics: Output[Metrics],
    onnx_int8_metrics: Output[Metrics],
    classification: Output[ClassificationMetrics],
    report: Output[HTML],
    summary: Output[Markdown],
    champion_uri: str = "",
    floor: float = 0.8,
    max_int8_drop: float = 0.01,
    min_baseline_gain: float = 0.0,
    max_champion_drop: float = 0.0,
    promote_on: str = "not_worse",
    prefer: str = "smallest",
) -> NamedTuple("Outputs", [("verdict", str), ("reason", str)]):  # type: ignore[valid-type]
    """Judge every variant of a model on the held-out rows: quality, latency, size, and whether to publish it.

    Of the variants that may be published, int8 alone unless export_onnx was told otherwise, the smallest or the
    fastest that passes is promoted. It passes when its Matthews correlation reaches the floor, stays close to torch,
    beats the cheap baselines (majority class, TF-IDF with a linear SVM) and is not below the champion's on the same
    rows by more than chance: a paired bootstrap decides.

    Args:
        dataset: The prepared data set; its test rows judge, its other rows fit the baselines.
        onnx: The fp32 model, with torch's reference answers.
        onnx_int8: The int8 model, and further variants in directories of their names.
        evaluation: metrics.json, predictions.csv, drawings, and the profile of the data set.
        torch_metrics: Quality, size and speed of the torch model.
        onnx_metrics: The same of the fp32 ONNX model.
        onnx_int8_metrics: The same of the int8 ONNX model, and of further variants under their names.
        classification: Confusion matrix and micro-averaged ROC of the variant that was judged.
        report: The whole report.
        summary: The report in Markdown.
        champion_uri: The published version to compare with; empty for none.
        floor: Smallest Matthews correlation.
        max_int8_drop: How far int8, or another variant, may lie below torch.
        min_baseline_gain: It must beat each cheap baseline by more than this; -2 turns this off.
        max_champion_drop: How far it may lie below the champion, beyond chance.
        promote_on: not_worse: replace the champion unless significantly worse; better: only if significantly better.
        prefer: Which of the variants that pass is published: the smallest or the fastest.

    Returns:
        verdict: promote or reject.
        reason: Why.
    """
    import time

    from kfp_textclf.components.common.kfp_outputs import write_classification, write_metrics, write_text
    from kfp_textclf.components.evaluate import gate, stage

    started = time.perf_counter()
    result = stage.evaluate(
        dataset.path,
        onnx.path,
        onnx_int8.path,
        evaluation.path,
        champion_uri=champion_uri,
        settings=gate.GateSettings(floor, max_int8_drop, min_baseline_gain, max_champion_drop, promote_on, prefer),
    )
    seconds = time.perf_counter() - started
    evaluation.metadata.update(
        {
            "verdict": result.verdict,
            "reason": result.reason,
            "shipped": result.shipped,
            "seconds": seconds,
            "tracking": result.tracking,
        }
    )
    write_metrics(torch_metrics, result.variants["torch"])
    write_metrics(onnx_metrics, result.variants["onnx"])
    further = {
        f"{name}_{figure}": value
        for name, figures in result.variants.items()
        if name not in ("torch", "onnx", "onnx_int8")
        for figure, value in figures.items()
    }
    write_metrics(onnx_int8_metrics, {**result.variants["onnx_int8"], **further})
    write_classification(classification, result.labels, result.confusion_matrix, result.roc)
    write_text(report, result.report_html)
    write_text(summary, result.report_markdown)
    return (result.verdict, result.reason)
