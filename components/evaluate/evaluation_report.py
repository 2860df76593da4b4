"""The report on an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.classification import per_class
from kfp_textclf.components.common.report import (
    Block,
    Facts,
    Figure,
    Heatmap,
    Quantity,
    Share,
    Table,
    Verdict,
    format_bytes,
)
from kfp_textclf.components.common.significance import Difference, in_words
from kfp_textclf.components.evaluate.confidence_report import confidence_blocks

VARIANT_NAMES = {
    "torch": "PyTorch fp32",
    "onnx": "ONNX fp32",
    "onnx_int8": "ONNX int8",
    "onnx_int4": "ONNX int4",
    "onnx_fp16": "ONNX fp16",
    "onnx_fp32": "ONNX fp32, as a candidate",
}
METRIC_NAMES = {"matthews_correlation": "MCC", "macro_f1": "macro F1", "accuracy": "accuracy"}
MISTAKES_SHOWN, MISTAKES_OPEN, LONGEST_TEXT = 300, 20, 500


def evaluation_blocks(evaluation: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a report.

    Args:
        evaluation: What `stage.evaluate` writes as ``metrics.json``.
    """
    kind, best_baseline = shipped_kind(evaluation), _best(evaluation["baselines"])
    judged = evaluation["variants"][evaluation["shipped"]]
    promoted = evaluation["verdict"] == "promote"
    matrix, labels = evaluation["confusion_matrix"], evaluation["labels"]
    return [
        Verdict("Promote" if promoted else "Reject", evaluation["reason"], promoted),
        Facts(
            [
                (f"accuracy, {kind}", judged["accuracy"]),
                (f"MCC, {kind}", judged["matthews_correlation"]),
                (f"macro F1, {kind}", judged["macro_f1"]),
                ("best baseline MCC", best_baseline),
                ("model file", format_bytes(judged["size_bytes"])),
                ("one text, median", f"{judged['latency_ms_p50']:.2f} ms"),
            ]
        ),
        *_champion(evaluation["champion"], kind),
        _comparison(evaluation),
        Figure(
            "Quality, size and speed",
            plots.to_svg(size_and_speed(evaluation["variants"])),
            "The table of the variants holds these figures.",
            "Raw text in, label out, tokenising included, on the CPUs of this run.",
        ),
        _classes(evaluation, kind),
        Heatmap(f"Confusion matrix, {kind}", labels, matrix),
        _mistakes(evaluation["mistakes"], kind),
        _curves(evaluation, kind),
        *confidence_blocks(evaluation, variant_names(evaluation), kind),
    ]


def in_order(variants: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Mapping[str, float]]]:
    """Return the variants in the order in which they are made."""
    return [(name, variants[name]) for name in VARIANT_NAMES if name in variants]


def shipped_kind(evaluation: Mapping[str, Any]) -> str:
    """Return what the variant that was judged is called in short, such as ``int8``."""
    return evaluation["shipped"].removeprefix("onnx_")


def variant_names(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return what each variant is called, in their order, and which one was judged, or is to be published."""
    names = {name: VARIANT_NAMES[name] for name, _ in in_order(evaluation["variants"])}
    fate = "published" if evaluation["verdict"] == "promote" else "judged"
    return {**names, evaluation["shipped"]: f"{names[evaluation['shipped']]} ({fate})"}


def size_and_speed(variants: Mapping[str, Mapping[str, float]]) -> Any:
    """Draw file size, median latency and throughput of each variant."""

    def panel(figure: str, scale: float = 1) -> dict[str, float]:
        return {name: figures[figure] * scale for name, figures in in_order(variants)}

    return plots.bars(
        {
            "file size, MB": panel("size_bytes", 1e-6),
            "one text, median ms": panel("latency_ms_p50"),
            "rows per second, batched": panel("rows_per_second"),
        }
    )


def _comparison(evaluation: Mapping[str, Any]) -> Table:
    rows: list[Sequence[Any]] = [
        (
            variant_names(evaluation)[name],
            *(figures[metric] for metric in ("accuracy", "macro_f1", "matthews_correlation")),
            Quantity(format_bytes(figures["size_bytes"])),
            Quantity(f"{figures['latency_ms_p50']:.2f} / {figures['latency_ms_p99']:.2f}"),
            round(figures["rows_per_second"]),
        )
        for name, figures in in_order(evaluation["variants"])
    ]
    others = {f"baseline: {name}": figures for name, figures in evaluation["baselines"].items()}
    if evaluation["champion"]:
        others[f"champion {evaluation['champion']['version']}"] = evaluation["champion"]
    for name, figures in others.items():
        rows.append((name, figures["accuracy"], figures["macro_f1"], figures["matthews_correlation"], "", "", ""))
    columns = ("model", "accuracy", "macro F1", "MCC", "size", "p50 / p99 ms", "rows/s")
    return Table(
        "Variants and baselines", columns, rows, f"On {evaluation['rows']:,} held-out texts, none of them in train."
    )


def _champion(champion: Mapping[str, Any] | None, kind: str) -> list[Block]:
    """Return the comparison with the champion, if there is one."""
    if not champion:
        return []
    comparison = champion["comparison"]
    rows = []
    for metric, name in METRIC_NAMES.items():
        found = Difference(**comparison["metrics"][metric])
        interval = Quantity(f"{found.low:+.4f} to {found.high:+.4f}")
        words = in_words(found.difference, found.p_value)
        rows.append(
            (name, found.second, found.first, Quantity(f"{found.difference:+.4f}"), interval, found.p_value, words)
        )
    columns = ("metric", kind, "champion", "difference", "95 % interval", "p", "")
    note = (
        f"Paired bootstrap over the {comparison['rows']:,} held-out texts. Only the champion is right on "
        f"{comparison['only_first_right']:,}, only {kind} on {comparison['only_second_right']:,}: exact McNemar test "
        f"p {comparison['mcnemar_p']:.2g}."
    )
    return [Table(f"Against the champion {champion['version']}", columns, rows, note)]


def _classes(evaluation: Mapping[str, Any], kind: str) -> Table:
    scores = per_class(np.asarray(evaluation["confusion_matrix"]), evaluation["labels"])
    rows = [(s.label, s.support, s.precision, s.recall, Share(s.f1)) for s in sorted(scores, key=lambda s: -s.support)]
    return Table(f"Classes, {kind}", ("label", "rows", "precision", "recall", "F1"), rows)


def _mistakes(mistakes: Sequence[Mapping[str, Any]], kind: str) -> Table:
    rows = [
        (_shortened(m["text"]), m["label"], m["predicted"], Share(m["probability"])) for m in mistakes[:MISTAKES_SHOWN]
    ]
    note = f"The {len(rows)} most confident of {len(mistakes)}." if len(mistakes) > len(rows) else ""
    columns, folded = ("text", "true", "predicted", "probability"), len(rows) > MISTAKES_OPEN
    return Table(f"Misclassified texts, {kind}: {len(mistakes)}", columns, rows, note, folded, searchable=True)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _curves(evaluation: Mapping[str, Any], kind: str) -> Figure:
    """Return how well the probabilities rank all (text, class) pairs, and how the times of single texts vary."""
    pr, roc = evaluation["precision_recall"], evaluation["roc"]
    times = {VARIANT_NAMES[name]: ms for name, ms in evaluation["latency_ms"].items()}
    drawing = plots.ranking(
        list(zip(pr["recall"], pr["precision"], strict=True)),
        list(zip(roc["false_positive"], roc["true_positive"], strict=True)),
        {name: list(zip(ms, np.linspace(0, 1, len(ms)), strict=True)) for name, ms in times.items()},
    )
    medians = ", ".join(f"{name} {ms[len(ms) // 2]:.2f} ms" for name, ms in times.items())
    area = float(np.trapezoid(roc["true_positive"], roc["false_positive"]))
    note = f"Left and middle: {kind}, over all pairs of text and class. Right: single texts in order of time."
    words = f"Area under the ROC {area:.4f}. Median time of one text: {medians}."
    return Figure("Precision and recall, ROC, latency", plots.to_svg(drawing), words, f"{words} {note}")


def mistakes(
    texts: Sequence[str],
    truth: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    labels: Sequence[str],
    champion: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return the misclassified texts with true and predicted label and probability, the most confident first.

    Args:
        texts: The held-out texts.
        truth: True class of each, shape (rows,).
        probabilities: Shape (rows, classes).
        labels: Class names.
        champion: The champion's label of each text, which is told too; None when there is no champion.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = [
        {
            "text": texts[row],
            "label": labels[truth[row]],
            "predicted": labels[predicted[row]],
            "probability": float(probabilities[row].max()),
            **({"champion": champion[row]} if champion else {}),
        }
        for row in np.flatnonzero(predicted != truth).tolist()
    ]
    return sorted(wrong, key=lambda mistake: -mistake["probability"])


def _best(baselines: Mapping[str, Mapping[str, float]]) -> float:
    return max(figures["matthews_correlation"] for figures in baselines.values())
