"""Drawings of a run that GitHub makes itself, of Mermaid code."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kfp_textclf.components.common.report import Block, Diagram, mermaid_text
from kfp_textclf.pipelines.run_record import CANCELED, FAILED, SUCCEEDED, RecordedStep

MOST_STEPS, MOST_POINTS = 40, 60
_CLASSES = {SUCCEEDED: "done", FAILED: "failed", "ERROR": "failed", CANCELED: "failed"}
_STYLES = (
    "classDef done fill:#dcfce7,stroke:#15803d,color:#14532d",
    "classDef reused fill:#e0e7ff,stroke:#4338ca,color:#312e81",
    "classDef failed fill:#fee2e2,stroke:#b91c1c,color:#7f1d1d",
    "classDef other fill:#f3f4f6,stroke:#6b7280,color:#374151",
)


def steps_diagram(steps: Sequence[RecordedStep]) -> Diagram:
    """Return the steps in the order in which they ran, with their state and time."""
    lines = ["flowchart LR"]
    for i, step in enumerate(steps[:MOST_STEPS]):
        how = "reused" if step.cached else step.state.lower()
        if step.state == SUCCEEDED and step.seconds and not step.cached:
            how = f"{step.seconds:,.0f} s"
        kind = "reused" if step.cached else _CLASSES.get(step.state, "other")
        lines.append(f'  s{i}["{mermaid_text(step.title)}<br/>{mermaid_text(how)}"]:::{kind}')
    lines += [f"  s{i} --> s{j}" for i, j in pairwise(range(min(len(steps), MOST_STEPS)))]
    return Diagram("Steps", "\n".join([*lines, *(f"  {style}" for style in _STYLES)]))


def learning_curve(content: Mapping[str, Any]) -> list[Block]:
    """Return the validation metric over the epochs; nothing when the training's record is not there or too short."""
    log = content.get("training", {}).get("log") or []
    points = [(entry["epoch"], entry["eval_matthews_correlation"]) for entry in log if "eval_loss" in entry]
    if len(points) < 2:
        return []
    points = points[:: -(-len(points) // MOST_POINTS)]
    epochs = ", ".join(f"{epoch:g}" for epoch, _ in points)
    values = ", ".join(f"{value:.4f}" for _, value in points)
    low = math.floor(10 * min(value for _, value in points)) / 10
    code = f'xychart-beta\n  x-axis "epoch" [{epochs}]\n  y-axis "validation MCC" {low:.1f} --> 1\n  line [{values}]'
    return [Diagram("Learning curve", code)]
