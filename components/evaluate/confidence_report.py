"""The part of the evaluation report on probabilities: calibration, and answering only when sure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.report import Block, Figure, Share, Table

if TYPE_CHECKING:
    from matplotlib import figure


def confidence_blocks(evaluation: Mapping[str, Any], names: Mapping[str, str], kind: str) -> list[Block]:
    """Return the blocks on the probabilities of the variants.

    Args:
        evaluation: What `stage.evaluate` writes as ``metrics.json``.
        names: What each variant is called, in the order of the rows.
        kind: What the variant that was judged is called in short.
    """
    figures = ("temperature", "uncalibrated_ece", "ece", "brier", "nll")
    rows = [(name, *(evaluation["variants"][variant][f] for f in figures)) for variant, name in names.items()]
    columns = ("model", "temperature", "ECE before", "ECE after", "Brier score", "NLL")
    note = (
        "A temperature, fitted on the validation rows, divides the logits; labels stay as they are. ECE: mean gap "
        "between probability and accuracy over 15 bins; 0 is perfect. Brier score and NLL are those after calibration."
    )
    drawing_note = (
        f"{kind} model. Left: a large dot stands for many rows. Right: accuracy when the least certain answers are "
        "left to a person."
    )
    return [
        Table("Calibration", columns, rows, note),
        Figure("Probabilities", plots.to_svg(confidence_figure(evaluation)), _in_words(evaluation), drawing_note),
        _targets(evaluation, kind),
    ]


def _in_words(evaluation: Mapping[str, Any]) -> str:
    """Return what the drawing shows."""
    bins = ", ".join(
        f"{entry['confidence']:.2f}: {entry['accuracy']:.2f}" for entry in evaluation["reliability"]["calibrated"]
    )
    curve = evaluation["reject_option"]["curve"]
    some = ", ".join(f"{p['coverage']:.0%}: {p['accuracy']:.1%}" for p in curve[:: max(1, len(curve) // 5)])
    return f"Accuracy by mean probability: {bins}. Accuracy by share of the rows answered: {some}."


def confidence_figure(evaluation: Mapping[str, Any]) -> "figure.Figure":
    """Draw the reliability diagram and the reject option of the variant that was judged."""
    bins = {
        name: [(entry["confidence"], entry["accuracy"], entry["rows"]) for entry in entries]
        for name, entries in sorted(evaluation["reliability"].items(), reverse=True)
    }
    curve = [(point["coverage"], point["accuracy"]) for point in evaluation["reject_option"]["curve"]]
    return plots.confidence(bins, curve)


def _targets(evaluation: Mapping[str, Any], kind: str) -> Table:
    rows = [
        (f"{t['target']:.0%}", t["threshold"], Share(t["coverage"]), Share(t["accuracy"]))
        if "threshold" in t
        else (f"{t['target']:.0%}", "not reached", "", "")
        for t in evaluation["reject_option"]["targets"]
    ]
    note = "Answer only when the probability is at least the threshold. Chosen on these rows, so a little optimistic."
    columns = ("accuracy wanted", "threshold", "rows answered", "accuracy of these")
    return Table(f"Answering only when sure, {kind}", columns, rows, note)
