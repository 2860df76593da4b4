"""The candidates of a sweep: a grid, or random draws, over training parameters and base models."""

import itertools
import json
import math
import random
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Params, Train

NOT_SWEPT = ("checkpoint_uri", "checkpoint_steps", "prices", "processes", "metric_for_best_model")
DEFAULT = "default"
DRAWS = 1000  # tries to find another candidate that is not there yet


def candidates(params: Params) -> list[dict[str, Any]]:
    """Return the candidates of the ``sweep`` section; the parameters as they stand come first, named ``default``.

    Raises:
        UserError: The space names an unknown parameter or a value out of range, or a grid is larger than allowed.
    """
    sweep = params.sweep
    known = [name for name in Train.model_fields if name not in NOT_SWEPT] + ["base_model"]
    for name, values in sweep.space.items():
        if name not in known:
            raise UserError(f"sweep.space.{name}: cannot be swept; use {', '.join(known)}")
        if not values or (isinstance(values, Mapping) and sweep.method == "grid"):
            raise UserError(f"sweep.space.{name}: needs a list of values{' with a grid' if values else ''}")
    points = _grid(params) if sweep.method == "grid" else _draws(params)
    base = {**{name: getattr(params.train, name) for name in known[:-1]}, "base_model": params.base_model}
    base["metric_for_best_model"] = params.train.metric_for_best_model
    base["seed"] = params.seed
    found = [{"name": DEFAULT, **base}]
    for point in points:
        if any(point[name] != base[name] for name in point):
            found.append({"name": _name(point), **base, **point})
    return found


def _grid(params: Params) -> list[dict[str, Any]]:
    space = params.sweep.space
    size = math.prod(len(values) for values in space.values())
    if size > params.sweep.candidates:
        raise UserError(
            f"sweep.space: a grid of {size} candidates, more than sweep.candidates={params.sweep.candidates}; "
            "raise that, or set sweep.method=random"
        )
    return [_checked(dict(zip(space, values, strict=True))) for values in itertools.product(*space.values())]


def _draws(params: Params) -> list[dict[str, Any]]:
    generator = random.Random(params.seed)  # noqa: S311  (not for secrets)
    found: dict[str, dict[str, Any]] = {}
    for _ in range(DRAWS):
        if len(found) == params.sweep.candidates:
            break
        point = {name: _draw(generator, name, values) for name, values in params.sweep.space.items()}
        found.setdefault(json.dumps(point, sort_keys=True), _checked(point))
    return list(found.values())


def _draw(generator: random.Random, name: str, values: Any) -> Any:
    if not isinstance(values, Mapping):
        return generator.choice(list(values))
    low, high, logarithmic = values.get("min"), values.get("max"), values.get("log", False)
    unknown = set(values) - {"min", "max", "log"}
    if (
        not isinstance(low, int | float)
        or not isinstance(high, int | float)
        or unknown
        or low >= high
        or (logarithmic and low <= 0)
    ):
        raise UserError(f"sweep.space.{name}={dict(values)}: is neither a list nor {{min: 1e-5, max: 1e-3, log: true}}")
    drawn = math.exp(generator.uniform(math.log(low), math.log(high))) if logarithmic else generator.uniform(low, high)
    return round(drawn) if isinstance(low, int) and isinstance(high, int) else float(f"{drawn:.3g}")


def _checked(point: dict[str, Any]) -> dict[str, Any]:
    """Return a point with the types of the training parameters."""
    values = {name: value for name, value in point.items() if name != "base_model"}
    try:
        checked = Train.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        raise UserError(f"sweep.space.{name}={problem['input']!r}: {problem['msg'].lower()}") from error
    return {**point, **{name: getattr(checked, name) for name in values}}


def _name(point: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in point.items())
