"""Drawings for reports and KFP artifacts: SVG text for pages, PNG files for everywhere else."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#566070"
COLORS = ("#2563eb", "#b45309", "#047857", "#b91c1c")
NAMED_CLASSES = 60  # on an axis of a matrix
LONGEST_NAME = 41  # characters of a class that a drawing shows
STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a label is one
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": f"cycler('color', {list(COLORS)})",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.dpi": 144,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "kfp-textclf",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def curves(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], x_labels: Sequence[str], markers: bool = True
) -> "Figure":
    """Draw one panel per entry, each with named lines of (x, y) points; a single line needs no name.

    Args:
        panels: Lines by name, by title of the panel.
        x_labels: What x is, for each panel.
        markers: Mark the points of short lines.
    """
    figure, axes = _figure(len(panels))
    for axis, (title, lines), x_label in zip(axes, panels.items(), x_labels, strict=True):
        for name, points in lines.items():
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axis.plot(xs, ys, label=name, marker="o" if markers and len(points) < 20 else None, markersize=3)
        axis.set(title=title, xlabel=x_label)
        axis.grid(True)
        if len(lines) > 1:
            axis.legend()
    return figure


def scatters(panels: Mapping[str, Sequence[tuple[str, float]]], y_label: str) -> "Figure":
    """Draw one panel per entry, each with points over named values, numbers in their order."""
    figure, axes = _figure(len(panels))
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        names = sorted({name for name, _ in points}, key=lambda name: (_number(name), name))
        axis.scatter([names.index(name) for name, _ in points], [value for _, value in points], alpha=0.7)
        axis.set_xticks(range(len(names)), names, rotation=20 if max(map(len, names)) > 8 else 0)
        axis.set(title=title, ylabel=y_label, xlim=(-0.5, len(names) - 0.5))
        axis.grid(True)
    return figure


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def confidence(
    reliability: Mapping[str, Sequence[tuple[float, float, float]]], rejection: Sequence[tuple[float, float]]
) -> "Figure":
    """Draw a reliability diagram, and accuracy over coverage.

    Args:
        reliability: Points (mean confidence, accuracy, rows) of the bins of each named model; dots grow with the rows.
        rejection: Points (coverage, accuracy of the answered rows).
    """
    figure, (left, right) = _figure(2)
    left.plot((0, 1), (0, 1), color=INK, linewidth=0.8, linestyle="--", label="perfect")
    for name, points in reliability.items():
        confidences, accuracies, rows = zip(*points, strict=True)
        (line,) = left.plot(confidences, accuracies, linewidth=0.7, alpha=0.6)
        area = [6 + 90 * count / sum(rows) for count in rows]
        left.scatter(confidences, accuracies, area, color=line.get_color(), alpha=0.8, label=name, linewidths=0)
    left.set(title="reliability", xlabel="mean probability of the answer", ylabel="share that is right")
    left.legend()
    right.plot(*zip(*rejection, strict=True), drawstyle="steps-post")
    right.set(title="accuracy of the answered rows", xlabel="share of the rows answered", xlim=(0, 1.02))
    for axis in (left, right):
        axis.grid(True)
    return figure


def training_curves(log: Sequence[Mapping[str, float]]) -> "Figure":
    """Draw loss and validation metrics over epochs from the log of a Hugging Face Trainer."""

    def line(name: str) -> list[tuple[float, float]]:
        return [(entry["epoch"], entry[name]) for entry in log if name in entry]

    names = ("matthews_correlation", "macro_f1", "accuracy")
    panels = {
        "loss": {"train": line("loss"), "validation": line("eval_loss")},
        "validation metrics": {name.replace("_", " "): line(f"eval_{name}") for name in names},
    }
    return curves(panels, ["epoch", "epoch"])


def ranking(
    precision_recall: Sequence[tuple[float, float]], roc: Sequence[tuple[float, float]], latency: Mapping[str, Any]
) -> "Figure":
    """Draw the precision-recall curve, the ROC, and how the times of single texts are distributed.

    Args:
        precision_recall: Points (recall, precision).
        roc: Points (false positive rate, true positive rate).
        latency: Points (milliseconds, share of the texts that took no longer) by model.
    """
    panels = {"precision": {"": precision_recall}, "true positive rate": {"": roc}, "share of the texts": latency}
    figure = curves(panels, ["recall", "false positive rate", "ms for one text"], markers=False)
    figure.axes[2].set(ylim=(0, 1.02), xlim=(0, None))
    return figure


def bars(panels: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Draw one panel of horizontal bars per entry, each bar with its value."""
    figure, axes = _figure(len(panels), height=1.9)
    for axis, (title, values) in zip(axes, panels.items(), strict=True):
        drawn = axis.barh(list(values), list(values.values()), color=COLORS[0], height=0.6)
        axis.bar_label(drawn, fmt="%.4g", padding=3, color=INK)
        axis.set_title(title)
        axis.margins(x=0.22)
        axis.invert_yaxis()
    return figure


def matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> "Figure":
    """Draw a confusion matrix, each cell shaded by its share of the row; of many classes some are named."""
    ticks = range(0, len(labels), -(-len(labels) // NAMED_CLASSES))
    names = [shortened(labels[tick]) for tick in ticks]
    side = 1.6 + 0.32 * min(len(labels), NAMED_CLASSES) + 0.1 * max(10, *map(len, names))
    figure, (axis,) = _figure(1, width=side + 1, height=side)
    totals = [max(1, sum(row)) for row in counts]
    shares = [[count / total for count in row] for row, total in zip(counts, totals, strict=True)]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(ticks, names, rotation=90)
    axis.set_yticks(ticks, names)
    axis.set(xlabel="predicted", ylabel="true")
    if len(labels) <= 40:
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                if count:
                    color = "white" if shares[i][j] > 0.5 else "#1b2430"
                    axis.text(j, i, str(count), ha="center", va="center", color=color, fontsize=7)
    return figure


def shortened(name: str) -> str:
    """Return a name of at most `LONGEST_NAME` characters, with an ellipsis in place of its middle."""
    half = (LONGEST_NAME - 1) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def to_svg(figure: "Figure") -> str:
    """Return the drawing as an ``<svg>`` element that a page scales, in the page's colours for light and dark."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()[text.getvalue().index("<svg") :].replace(INK, "currentColor")
    for number, color in enumerate(COLORS):
        svg = svg.replace(color, f"var(--series-{number}, {color})")
    return re.sub(r'<g id="[^"]*">', "<g>", svg)  # nothing refers to them, and a page holds several drawings


def save_png(figure: "Figure", path: Path) -> None:
    """Write the drawing as a PNG on white."""
    figure.savefig(path, format="png", facecolor="white")


def _figure(columns: int, width: float = 9.0, height: float = 2.9):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(STYLE)
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False)[0]
