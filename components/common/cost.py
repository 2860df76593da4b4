"""What a step used, and an estimate of the energy and the money that it took.

energy in watt-hours = hours * (CPU cores * watts per core + watts of the GPUs)
cost                 = hours * (CPU cores * price of a core-hour + hourly price of the GPUs)

Hours are those of the step, from its start to its end, and cores are those that it may use, busy or not: what a cloud
bills. The figures of the price table are the user's: the cost is in their currency, and the watts are those of a busy
machine, so that the energy is rather too high than too low.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus


@dataclass(frozen=True)
class Prices:
    """A table of prices. What is not in it is not estimated.

    Attributes:
        cpu_core_hour: Price of a CPU core for an hour.
        gpu_hour: Price of a GPU for an hour by its name, such as ``nvidia-l4``, the names that node pools use.
        watts_per_core: Power of a busy CPU core.
        gpu_watts: Power of a busy GPU by its name.
    """

    cpu_core_hour: float | None = None
    gpu_hour: Mapping[str, float] = field(default_factory=dict)
    watts_per_core: float | None = None
    gpu_watts: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> "Prices":
        """Return the table that a parameter holds; an empty one estimates nothing.

        Raises:
            UserError: It has an unknown name, or a price that is no number of 0 or more.
        """
        known = {f.name for f in fields(cls)}
        for name, value in table.items():
            if name not in known:
                raise UserError(f"prices: unknown name {name!r}; known are {', '.join(sorted(known))}")
            by_gpu = name.startswith("gpu_")
            if by_gpu and not isinstance(value, Mapping):
                raise UserError(f"prices.{name}={value!r}: must be a mapping such as {{nvidia-l4: 0.7}}")
            for price in value.values() if by_gpu else [value]:
                if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                    raise UserError(f"prices.{name}: {price!r} is no number of 0 or more")
        return cls(**table)

    def has(self, gpu: str) -> bool:
        """Return whether the table has a price for a GPU of this name."""
        return _of_gpu(gpu, self.gpu_hour) is not None


def usage(seconds: float, prices: Prices, gpus: Sequence[str] = (), cores: float | None = None) -> dict[str, float]:
    """Return what a step used: ``cpu_count``, ``gpu_count``, and as far as prices are known ``energy_wh``, ``cost``.

    Args:
        seconds: How long the step ran.
        prices: Price table.
        gpus: Names of the GPUs that it used, as CUDA reports them or as the price table has them.
        cores: CPU cores that it could use; those of this process when not given.
    """
    hours, cores = seconds / 3600, available_cpus() if cores is None else cores
    figures = {"cpu_count": float(cores), "gpu_count": float(len(gpus))}
    totals = {
        "energy_wh": _total(cores, prices.watts_per_core, gpus, prices.gpu_watts),
        "cost": _total(cores, prices.cpu_core_hour, gpus, prices.gpu_hour),
    }
    return {**figures, **{name: hours * total for name, total in totals.items() if total is not None}}


def _total(cores: float, per_core: float | None, gpus: Sequence[str], per_gpu: Mapping[str, float]) -> float | None:
    """Return the sum over cores and GPUs; None when one of them has no entry in the table."""
    parts = [_of_gpu(gpu, per_gpu) for gpu in gpus]
    if per_core is None or None in parts:
        return None
    return cores * per_core + sum(part for part in parts if part is not None)


def _of_gpu(gpu: str, table: Mapping[str, float]) -> float | None:
    """Return the entry that fits best: nvidia-a100 fits "NVIDIA A100-SXM4-40GB", nvidia-l4 does not fit an L40S."""
    words = _words(gpu)
    fitting = [name for name in table if words[: len(_words(name))] == _words(name)]
    return table[max(fitting, key=lambda name: len(_words(name)))] if fitting else None


def _words(name: str) -> list[str]:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return [word for word in words if word not in ("nvidia", "tesla", "geforce")]
