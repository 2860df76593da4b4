"""The decision whether a model may be published."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kfp_textclf.components.common.errors import UserError

METRIC = "matthews_correlation"
Quality = Mapping[str, float]


@dataclass(frozen=True)
class GateSettings:
    """Thresholds, all of the Matthews correlation on the held-out rows.

    Attributes:
        floor: The int8 model must reach this.
        max_int8_drop: It may lie at most this far below torch.
        min_baseline_gain: It must lie more than this above each cheap baseline.
        max_champion_drop: It may lie at most this far below the champion on the same rows.
    """

    floor: float = 0.8
    max_int8_drop: float = 0.01
    min_baseline_gain: float = 0.0
    max_champion_drop: float = 0.0

    def __post_init__(self) -> None:
        """Refuse thresholds that are no numbers in range (``UserError``)."""
        for name, low in (
            ("floor", -1.0),
            ("max_int8_drop", 0.0),
            ("min_baseline_gain", -2.0),
            ("max_champion_drop", 0.0),
        ):
            if not low <= getattr(self, name) <= 2:
                raise UserError(f"{name}={getattr(self, name)}: must lie between {low:g} and 2")


@dataclass(frozen=True)
class Verdict:
    """``promote`` or ``reject``, and why."""

    verdict: str
    reason: str


def judge(
    variants: Mapping[str, Quality], baselines: Mapping[str, Quality], champion: Quality | None, settings: GateSettings
) -> Verdict:
    """Decide on the int8 variant, which is the one that is published.

    Args:
        variants: Quality of ``torch``, ``onnx`` and ``onnx_int8`` on the held-out rows.
        baselines: Quality of the cheap classifiers on the same rows; which the model must beat.
        champion: Quality of the published model on the same rows, if there is one.
        settings: Thresholds.

    Returns:
        The verdict. A figure that is not a number rejects: no comparison with it means anything.
    """
    others = {**baselines, **({"champion": champion} if champion else {})}
    broken = [name for name, figures in variants.items() if not all(map(math.isfinite, figures.values()))]
    broken += [name for name, figures in others.items() if not math.isfinite(figures[METRIC])]
    if broken:
        return Verdict("reject", f"{', '.join(broken)}: a metric is not a finite number")
    int8, reference = variants["onnx_int8"][METRIC], variants["torch"][METRIC]
    failures = []
    if int8 < settings.floor:
        failures.append(f"int8 MCC {int8:.4f} is below the floor {settings.floor:.4f}")
    if reference - int8 > settings.max_int8_drop:
        failures.append(
            f"int8 MCC {int8:.4f} is {reference - int8:.4f} below torch, more than {settings.max_int8_drop:.4f}"
        )
    for name, figures in baselines.items():
        if int8 - figures[METRIC] <= settings.min_baseline_gain:
            failures.append(f"int8 MCC {int8:.4f} does not beat the baseline {name} ({figures[METRIC]:.4f})")
    if champion and int8 < champion[METRIC] - settings.max_champion_drop:
        failures.append(f"int8 MCC {int8:.4f} is below the champion's {champion[METRIC]:.4f}")
    if failures:
        return Verdict("reject", "; ".join(failures))
    best_baseline = max(figures[METRIC] for figures in baselines.values())
    against = f", at or above the champion's {champion[METRIC]:.4f}" if champion else ", no champion yet"
    return Verdict(
        "promote",
        f"int8 MCC {int8:.4f}: over the floor {settings.floor:.4f} and the best baseline {best_baseline:.4f}, "
        f"{int8 - reference:+.4f} against torch{against}",
    )
