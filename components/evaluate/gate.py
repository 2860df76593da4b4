"""The decision whether a model may be published.

Against the champion it is a matter of statistics: both answer the same held-out rows, and the paired bootstrap of
`common.significance` gives a 95 % confidence interval of the difference of their Matthews correlations.

- ``promote_on="not_worse"``: the challenger is rejected when the whole interval lies below ``-max_champion_drop``. With
  a drop of 0 that is "significantly worse"; a larger one tolerates a loss of that size. A model that is lower only by
  chance replaces the champion: it knows the newer data, and the rows cannot tell the two apart. Few held-out rows
  make a wide interval, and small losses in a row are each within it, so floor and baselines stay the lower bound.
- ``promote_on="better"``: it is rejected unless the whole interval lies above 0. The champion then changes for nothing
  but progress beyond chance.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.significance import Difference, in_words

METRIC = "matthews_correlation"
PROMOTE_ON = ("not_worse", "better")
PREFER = ("smallest", "fastest")
RESIDUE = 1e-9  # of floating-point arithmetic: 0.95 - 0.94 is 0.010000000000000009, and no more than 0.01
Quality = Mapping[str, float]


@dataclass(frozen=True)
class GateSettings:
    """Thresholds, all of the Matthews correlation on the held-out rows.

    Attributes:
        floor: The model must reach this.
        max_int8_drop: It may lie at most this far below torch.
        min_baseline_gain: It must lie more than this above each cheap baseline.
        max_champion_drop: By how much more than chance it may lie below the champion on the same rows.
        promote_on: ``not_worse`` than the champion, or significantly ``better``.
        prefer: Which of the variants that pass is published: the ``smallest`` or the ``fastest``.
    """

    floor: float = 0.8
    max_int8_drop: float = 0.01
    min_baseline_gain: float = 0.0
    max_champion_drop: float = 0.0
    promote_on: str = "not_worse"
    prefer: str = "smallest"

    def __post_init__(self) -> None:
        """Refuse thresholds that are no numbers in range, and a rule that is none (``UserError``)."""
        for name, low in (
            ("floor", -1.0),
            ("max_int8_drop", 0.0),
            ("min_baseline_gain", -2.0),
            ("max_champion_drop", 0.0),
        ):
            if not low <= getattr(self, name) <= 2:
                raise UserError(f"{name}={getattr(self, name)}: must lie between {low:g} and 2")
        if self.promote_on not in PROMOTE_ON:
            raise UserError(f"promote_on={self.promote_on!r}: must be {' or '.join(PROMOTE_ON)}")
        if self.prefer not in PREFER:
            raise UserError(f"prefer={self.prefer!r}: must be {' or '.join(PREFER)}")


@dataclass(frozen=True)
class Verdict:
    """``promote`` or ``reject``, and why."""

    verdict: str
    reason: str


def judge(
    variants: Mapping[str, Quality],
    baselines: Mapping[str, Quality],
    champion: Difference | None,
    settings: GateSettings,
    shipped: str = "onnx_int8",
) -> Verdict:
    """Decide on one variant.

    Args:
        variants: Quality of ``torch`` and the variants on the held-out rows.
        baselines: Quality of the cheap classifiers on the same rows; which the model must beat.
        champion: The published model's Matthews correlation on the same rows (first) and the variant's (second), if
            there is one.
        settings: Thresholds.
        shipped: Name of the variant.

    Returns:
        The verdict. A figure that is not a number rejects, of torch, of what is judged, or of what that is compared
        with: no comparison with it means anything. A variant that is not judged has no say.
    """
    others = {**baselines, **({"champion": {METRIC: champion.first}} if champion else {})}
    broken = [name for name in ("torch", shipped) if not all(map(math.isfinite, variants[name].values()))]
    broken += [name for name, figures in others.items() if not math.isfinite(figures[METRIC])]
    if broken:
        return Verdict("reject", f"{', '.join(broken)}: a metric is not a finite number")
    kind, found, reference = shipped.removeprefix("onnx_"), variants[shipped][METRIC], variants["torch"][METRIC]
    failures = []
    if found < settings.floor - RESIDUE:
        failures.append(f"{kind} MCC {found:.4f} is below the floor {settings.floor:.4f}")
    if reference - found > settings.max_int8_drop + RESIDUE:
        failures.append(
            f"{kind} MCC {found:.4f} is {reference - found:.4f} below torch, more than {settings.max_int8_drop:.4f}"
        )
    for name, figures in baselines.items():
        if found - figures[METRIC] <= settings.min_baseline_gain + RESIDUE:
            failures.append(f"{kind} MCC {found:.4f} does not beat the baseline {name} ({figures[METRIC]:.4f})")
    if champion and (failure := _against_champion(kind, champion, settings)):
        failures.append(failure)
    if failures:
        return Verdict("reject", "; ".join(failures))
    best = max(figures[METRIC] for figures in baselines.values())
    against = ", no champion yet"
    if champion:
        words = in_words(champion.difference, champion.p_value)
        against = f", against the champion's {champion.first:.4f}: {words} ({champion})"
    return Verdict(
        "promote",
        f"{kind} MCC {found:.4f}: not below the floor {settings.floor:.4f}, "
        f"{found - best:+.4f} against the best baseline, {found - reference:+.4f} against torch{against}",
    )


def _against_champion(kind: str, champion: Difference, settings: GateSettings) -> str:
    """Return why the challenger must not take the champion's place, or an empty string."""
    measured = f"{kind} MCC {champion.second:.4f}"
    if champion.high < -settings.max_champion_drop - RESIDUE:
        margin = f" by more than {settings.max_champion_drop:.4f}" if settings.max_champion_drop else ""
        return f"{measured} is below the champion's {champion.first:.4f}: significantly worse{margin} ({champion})"
    if settings.promote_on == "better" and champion.low <= RESIDUE:
        return f"{measured} is not significantly better than the champion's {champion.first:.4f} ({champion})"
    return ""
