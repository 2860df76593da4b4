"""What a step used, and what that may have cost."""

import pytest

from kfp_textclf.components.common import cost
from kfp_textclf.components.common.cost import Prices, usage
from kfp_textclf.components.common.errors import UserError

TABLE = {
    "cpu_core_hour": 0.04,
    "gpu_hour": {"nvidia-l4": 0.7, "nvidia-a100": 3.0, "nvidia-a100-sxm4-80gb": 4.0},
    "watts_per_core": 10,
    "gpu_watts": {"nvidia-l4": 72, "nvidia-a100": 400},
}


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "available_cpus", lambda: 4)


def test_cost_and_energy_are_those_of_cores_and_gpus_for_the_time() -> None:
    used = usage(1800, Prices.parse(TABLE), ["NVIDIA L4", "NVIDIA L4"])
    assert used["cpu_count"] == 4
    assert used["gpu_count"] == 2
    assert used["cost"] == pytest.approx(0.5 * (4 * 0.04 + 2 * 0.7))
    assert used["energy_wh"] == pytest.approx(0.5 * (4 * 10 + 2 * 72))


@pytest.mark.parametrize(
    ("gpu", "price"),
    [
        ("NVIDIA L4", 0.7),
        ("nvidia-l4", 0.7),
        ("NVIDIA A100-PCIE-40GB", 3.0),
        ("NVIDIA A100-SXM4-80GB", 4.0),
        ("NVIDIA L40S", None),
        ("Tesla T4", None),
    ],
)
def test_a_gpu_is_found_by_its_name(gpu: str, price: float | None) -> None:
    used = usage(3600, Prices.parse({**TABLE, "cpu_core_hour": 0}), [gpu])
    assert used.get("cost") == price


def test_what_has_no_price_is_not_estimated() -> None:
    assert usage(60, Prices.parse({})) == {"cpu_count": 4, "gpu_count": 0}
    assert set(usage(60, Prices.parse({"cpu_core_hour": 0.1}))) == {"cpu_count", "gpu_count", "cost"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"cpu_hour": 1},
            "prices: unknown name 'cpu_hour'; known are cpu_core_hour, gpu_hour, gpu_watts",
        ),
        ({"cpu_core_hour": -1}, "prices.cpu_core_hour: -1 is no number of 0 or more"),
        ({"cpu_core_hour": "1"}, "prices.cpu_core_hour: '1' is no number"),
        ({"watts_per_core": float("nan")}, "prices.watts_per_core: nan is no number"),
        ({"gpu_hour": 0.7}, "prices.gpu_hour=0.7: must be a mapping"),
        ({"gpu_watts": {"nvidia-l4": True}}, "prices.gpu_watts: True is no number"),
    ],
    ids=str,
)
def test_a_table_that_cannot_be_meant_is_refused(table: dict, message: str) -> None:
    with pytest.raises(UserError) as refused:
        Prices.parse(table)
    assert message in str(refused.value)
