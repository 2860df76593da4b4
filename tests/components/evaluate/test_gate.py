"""The decision whether a model may be published."""

import math

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.significance import Difference
from kfp_textclf.components.evaluate.gate import GateSettings, judge

BASELINES = {"majority": {"matthews_correlation": 0.0}, "tfidf_svm": {"matthews_correlation": 0.85}}
SETTINGS = GateSettings(floor=0.8, max_int8_drop=0.01, min_baseline_gain=0.0, max_champion_drop=0.0)


def variants(int8: float = 0.9, torch: float = 0.9, **more: float) -> dict[str, dict[str, float]]:
    figures = {"torch": torch, "onnx": torch, "onnx_int8": int8}
    return {name: {"matthews_correlation": value, "latency_ms_p50": 1.0, **more} for name, value in figures.items()}


def mcc(value: float) -> dict[str, float]:
    return {"matthews_correlation": value}


def champion(value: float, int8: float = 0.9, noise: float = 0.0) -> Difference:
    """Return a champion's figure, with an interval of the difference that reaches `noise` to both sides."""
    difference = int8 - value
    return Difference(value, int8, difference - noise, difference + noise, 1.0 if abs(difference) <= noise else 0.001)


def test_good_model_is_promoted_with_its_figures() -> None:
    verdict = judge(variants(), BASELINES, None, SETTINGS)
    assert verdict.verdict == "promote"
    for part in ("0.9000", "floor 0.8000", "+0.0500 against the best baseline", "no champion yet"):
        assert part in verdict.reason


@pytest.mark.parametrize(
    ("figures", "baselines", "best", "reason"),
    [
        (variants(0.79, 0.79), {}, None, "int8 MCC 0.7900 is below the floor 0.8000"),
        (variants(0.9, 0.92), BASELINES, None, "int8 MCC 0.9000 is 0.0200 below torch, more than 0.0100"),
        (variants(0.84, 0.84), BASELINES, None, "does not beat the baseline tfidf_svm (0.8500)"),
        (variants(0.85, 0.85), BASELINES, None, "does not beat the baseline tfidf_svm (0.8500)"),
        (variants(0.9), BASELINES, champion(0.91), "is below the champion's 0.9100: significantly worse"),
    ],
    ids=["floor", "int8 drop", "below a baseline", "level with a baseline", "champion better"],
)
def test_each_reason_to_reject(figures: dict, baselines: dict, best: Difference | None, reason: str) -> None:
    verdict = judge(figures, baselines or {"majority": mcc(0.0)}, best, SETTINGS)
    assert verdict.verdict == "reject"
    assert reason in verdict.reason
    assert ";" not in verdict.reason, "one reason alone"


def test_all_reasons_are_given() -> None:
    verdict = judge(variants(0.5, 0.9), BASELINES, champion(0.91, 0.5), SETTINGS)
    assert verdict.verdict == "reject"
    assert verdict.reason.count(";") == 3


@pytest.mark.parametrize("best", [0.89, 0.9])
def test_champion_worse_or_equal_gives_way(best: float) -> None:
    verdict = judge(variants(), BASELINES, champion(best), SETTINGS)
    assert verdict.verdict == "promote"
    words = "significantly better" if best < 0.9 else "no significant difference"
    assert f"against the champion's {best:.4f}: {words} ({0.9 - best:+.4f}, 95 % interval" in verdict.reason


@pytest.mark.parametrize(
    ("best", "noise", "drop", "rule", "verdict", "words"),
    [
        (
            0.91,
            0.02,
            0.0,
            "not_worse",
            "promote",
            "no significant difference (-0.0100, 95 % interval -0.0300 to +0.0100",
        ),
        (0.89, 0.02, 0.0, "not_worse", "promote", "no significant difference (+0.0100"),
        (0.93, 0.02, 0.0, "not_worse", "reject", "significantly worse (-0.0300, 95 % interval -0.0500 to -0.0100"),
        (0.93, 0.02, 0.02, "not_worse", "promote", "significantly worse (-0.0300"),
        (0.95, 0.02, 0.02, "not_worse", "reject", "significantly worse by more than 0.0200 (-0.0500"),
        (0.89, 0.02, 0.0, "better", "reject", "is not significantly better than the champion's 0.8900 (+0.0100"),
        (0.90, 0.0, 0.0, "better", "reject", "is not significantly better than the champion's 0.9000"),
        (0.93, 0.02, 0.0, "better", "reject", "significantly worse"),
        (0.86, 0.02, 0.0, "better", "promote", "significantly better (+0.0400"),
    ],
)
def test_champion_is_compared_beyond_chance(
    best: float, noise: float, drop: float, rule: str, verdict: str, words: str
) -> None:
    settings = GateSettings(0.8, 0.01, 0.0, drop, rule)
    found = judge(variants(), BASELINES, champion(best, noise=noise), settings)
    assert found.verdict == verdict
    assert words in found.reason
    assert ";" not in found.reason


def test_unknown_rule_is_refused() -> None:
    with pytest.raises(UserError, match="promote_on='always': must be not_worse or better"):
        GateSettings(promote_on="always")
    with pytest.raises(UserError, match="prefer='cheapest': must be smallest or fastest"):
        GateSettings(prefer="cheapest")


def test_variant_that_is_judged_is_named() -> None:
    figures = {**variants(0.95, 0.5), "onnx_int4": mcc(0.94)}
    verdict = judge(figures, BASELINES, None, SETTINGS, "onnx_int4")
    assert verdict.verdict == "promote"
    assert verdict.reason.startswith("int4 MCC 0.9400: not below the floor")


@pytest.mark.parametrize(
    ("figures", "settings"),
    [
        (variants(0.94, 0.95), GateSettings(0.8, max_int8_drop=0.01)),
        (variants(0.1 + 0.7), GateSettings(0.8, max_int8_drop=0.5, min_baseline_gain=-1)),
    ],
    ids=["drop", "floor"],
)
def test_what_is_just_allowed_is_not_refused_for_a_residue(figures: dict, settings: GateSettings) -> None:
    assert judge(figures, BASELINES, None, settings).verdict == "promote"


def test_gain_that_is_just_not_enough_is_not_enough_for_a_residue() -> None:
    assert 0.95 - 0.94 > 0.01
    settings = GateSettings(0.8, min_baseline_gain=0.01)
    assert judge(variants(0.95, 0.95), {"svm": mcc(0.94)}, None, settings).verdict == "reject"


def test_champion_loss_that_is_just_allowed_is_not_refused_for_a_residue() -> None:
    champion = Difference(0.95, 0.9, -0.07, 0.94 - 0.95, 0.001)
    assert champion.high < -0.01
    assert judge(variants(), BASELINES, champion, GateSettings(0.8, max_champion_drop=0.01)).verdict == "promote"


def test_int8_better_than_torch_is_no_drop() -> None:
    assert judge(variants(0.95, 0.9), BASELINES, None, SETTINGS).verdict == "promote"


@pytest.mark.parametrize(
    ("settings", "int8", "best"),
    [
        (GateSettings(0.8, 0.05, 0.0, 0.0), 0.86, None),
        (GateSettings(0.8, 0.05, 0.0, 0.05), 0.87, 0.9),
        (GateSettings(0.8, 0.1, -0.1, 0.0), 0.84, None),
        (GateSettings(-1, 2, -2, 2), -0.5, 0.9),
    ],
    ids=["int8 drop", "champion drop", "baseline gain", "everything"],
)
def test_tolerances_are_used(settings: GateSettings, int8: float, best: float | None) -> None:
    assert judge(variants(int8), BASELINES, champion(best, int8) if best else None, settings).verdict == "promote"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["torch", "onnx_int8"])
@pytest.mark.parametrize("metric", ["matthews_correlation", "latency_ms_p50"])
def test_figure_that_is_no_number_rejects(value: float, name: str, metric: str) -> None:
    figures = variants()
    figures[name][metric] = value
    verdict = judge(figures, BASELINES, None, GateSettings(-1, 2, -2, 2))
    assert (verdict.verdict, verdict.reason) == ("reject", f"{name}: a metric is not a finite number")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_variant_that_is_not_judged_has_no_say(value: float) -> None:
    figures = {**variants(), "onnx_int4": mcc(value)}
    assert judge(figures, BASELINES, None, SETTINGS).verdict == "promote"
    verdict = judge(figures, BASELINES, None, SETTINGS, "onnx_int4")
    assert (verdict.verdict, verdict.reason) == ("reject", "onnx_int4: a metric is not a finite number")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_baseline_or_champion_that_is_no_number_rejects(value: float) -> None:
    assert judge(variants(), {"svm": mcc(value)}, None, SETTINGS).verdict == "reject"
    assert judge(variants(), BASELINES, champion(value), SETTINGS).verdict == "reject"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("floor", math.nan),
        ("floor", 3.0),
        ("floor", -1.1),
        ("max_int8_drop", -0.1),
        ("min_baseline_gain", -2.1),
        ("max_champion_drop", math.inf),
    ],
)
def test_threshold_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"{name}={value}: must lie between"):
        GateSettings(**{name: value})  # type: ignore[arg-type]
