"""Fine-tune a Hugging Face encoder into a classifier."""

import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.base_models import resolve_base_model
from kfp_textclf.components.common.cost import Prices, usage
from kfp_textclf.components.common.report import Facts, Figure, render_html
from kfp_textclf.components.common.tracking import TrackedRun, track
from kfp_textclf.components.common.tracking_environment import dataset_pin
from kfp_textclf.components.train.checkpoints import Checkpoints, work_fingerprint
from kfp_textclf.components.train.distributed import Place, launch, wanted_processes
from kfp_textclf.components.train.preemption import watch_sigterm
from kfp_textclf.components.train.reproducibility import environment, gpu_names
from kfp_textclf.components.train.settings import TrainSettings, check_metric, hardware_precision
from kfp_textclf.components.train.throughput import flops_per_token, peak_flops, throughput

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerState

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
VALIDATION_METRICS = ("matthews_correlation", "macro_f1", "accuracy", "loss")


@dataclass(frozen=True)
class TrainedModel:
    """What was trained.

    Attributes:
        base_model: URI of the base model, its revision included.
        settings: The hyper-parameters, seed included.
        precision: ``bf16`` or ``fp32``.
        environment: Threads, devices and library versions: what the result depends on besides its inputs.
        resumed_from_steps: Steps that the training was resumed from; empty when it was never interrupted.
        best_metric: Value of ``metric_for_best_model`` at the epoch that was kept.
        best_epoch: That epoch.
        epochs: Epochs trained, fewer than asked for after an early stop.
        seconds: Time spent training and validating, that before the checkpoint it was resumed from included.
        tokens: Training tokens of all epochs, padding not counted.
        tokens_per_second: These by that time.
        flops_per_second: Operations of the matrix products of these tokens by that time.
        model_flops_utilisation: Share of what the hardware can multiply, see `throughput`.
        usage: CPU cores and GPUs, and an estimate of energy and cost, see `components.common.cost`.
        validation: Metrics of the epoch that was kept, on the validation rows.
        tracking: Where it was tracked, see `components.common.tracking`.
        checkpoint_uri: Where checkpoints of this work may still lie; empty for nowhere.
    """

    base_model: str
    settings: dict[str, Any]
    precision: str
    environment: dict[str, Any]
    resumed_from_steps: list[int]
    best_metric: float
    best_epoch: float
    epochs: float
    seconds: float
    tokens: float
    tokens_per_second: float
    flops_per_second: float
    model_flops_utilisation: float
    usage: dict[str, float]
    validation: dict[str, float]
    tracking: dict[str, str]
    checkpoint_uri: str = field(repr=False)
    report_html: str = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs."""
        names = ("best_epoch", "epochs", "seconds", "tokens", "tokens_per_second")
        figures = {name: getattr(self, name) for name in (*names, "flops_per_second", "model_flops_utilisation")}
        return {**{f"validation_{name}": value for name, value in self.validation.items()}, **figures, **self.usage}

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        fields = asdict(self)
        del fields["report_html"], fields["checkpoint_uri"]
        return {**fields, "seed": self.settings["seed"], "framework": "pytorch"}


def train(
    dataset: str,
    output: str,
    *,
    base_model: str,
    settings: TrainSettings,
    checkpoint_uri: str = "",
    checkpoint_steps: int = 200,
    prices: Mapping[str, Any] | None = None,
    model_uri: str = "",
) -> TrainedModel:
    """Fine-tune ``base_model`` on the training rows; every choice is made on the validation rows.

    A training that was killed is resumed from its newest checkpoint, to the same weights as if it had not been. With
    several processes it is theirs, see `distributed`.

    Args:
        dataset: Directory of a prepared data set.
        output: Directory to write: ``save_pretrained`` files (safetensors), the tokenizer, ``training.json``.
        base_model: URI of the base model, the same as the data set was tokenised for.
        settings: Hyper-parameters.
        checkpoint_uri: Where checkpoints are kept, ``file:///directory`` or ``s3://bucket/prefix``; empty for nowhere.
            They stay until `checkpoints.discard` is called with `TrainedModel.checkpoint_uri`.
        checkpoint_steps: The most steps of work that a kill may lose.
        prices: Price table, see `components.common.cost`; nothing is estimated without.
        model_uri: Where ``output`` will lie for others, which is tracked; empty to track no model.

    Raises:
        UserError: The data set or base model is unusable, or the training diverged.
        Preempted: SIGTERM came before the training was complete (exit code 143).
    """
    from kfp_textclf.components.train.fine_tuning import fine_tune

    price_table = Prices.parse(prices or {})
    settings = replace(settings, processes=wanted_processes(settings.processes))
    place = Place.current()
    if settings.processes != place.processes:
        job = {"dataset": dataset, "output": output, "base_model": base_model, "settings": asdict(settings)}
        job |= {"checkpoint_uri": checkpoint_uri, "checkpoint_steps": checkpoint_steps, "prices": dict(prices or {})}
        job |= {"model_uri": model_uri}
        return TrainedModel(**launch(settings.processes, job))
    directory = verified(dataset)
    labels = read_json(directory / "labels.json")
    rows, validation = (_read_split(directory, split, labels) for split in ("train", "validation"))
    check_metric(settings.metric_for_best_model, (labels[row["labels"]] for row in validation))
    precision = hardware_precision() if settings.precision == "auto" else settings.precision
    base = resolve_base_model(base_model)
    checkpoints = None
    if checkpoint_uri:
        work = work_fingerprint(directory, base, settings, precision)
        checkpoints = Checkpoints(checkpoint_uri, work, checkpoint_steps)
    config = {**asdict(settings), "base_model": base_model, "dataset_pin": dataset_pin(directory)}
    with watch_sigterm() as preemption, _tracking(place, config) as tracked:
        started = time.monotonic()
        model, state = fine_tune(base, labels, rows, validation, settings, precision, checkpoints, preemption, tracked)
        seconds = time.monotonic() - started + (checkpoints.seconds_before if checkpoints else 0.0)
        flops = (flops_per_token(model, rows), peak_flops(precision) * place.processes)
        trained = TrainedModel(
            base_model=base_model,
            settings=asdict(settings),
            precision=precision,
            environment=environment(),
            resumed_from_steps=checkpoints.resumed_from_steps if checkpoints else [],
            tracking=tracked.metadata(),
            checkpoint_uri=checkpoints.uri if checkpoints else "",
            **_figures(state, settings.metric_for_best_model, _tokens(rows), seconds, price_table, flops),
        )
        if place.rank:
            return trained
        with atomic_directory(output, "train_classifier") as target:
            model.save_pretrained(target)
            for name in TOKENIZER_FILES:
                if (directory / name).is_file():
                    shutil.copyfile(directory / name, target / name)
            write_json(target / "training.json", {**trained.metadata(), "log": state.log_history})
        tracked.summary(trained.metrics())
        if model_uri:
            tracked.reference_artifact("textclf-torch", model_uri, ["best"], trained.validation)
    return replace(trained, tracking=tracked.metadata())


def _tracking(place: Place, config: Mapping[str, Any]) -> "AbstractContextManager[TrackedRun]":
    """Return the tracked run of the training: that of the first process, the others have none."""
    return nullcontext(TrackedRun()) if place.rank else track("train", config)


def _figures(
    state: "TrainerState",
    metric: str,
    tokens_per_epoch: int,
    seconds: float,
    prices: Prices,
    flops: tuple[float, float],
) -> dict[str, Any]:
    """Return what a training came to, by the names of `TrainedModel`, and its report."""
    evaluations = [entry for entry in state.log_history if "eval_loss" in entry]
    best = min(evaluations, key=lambda entry: (entry["step"] != state.best_global_step, -entry["step"]))
    tokens = tokens_per_epoch * evaluations[-1]["epoch"]
    effort = {"seconds": seconds, "tokens": tokens, **throughput(tokens, seconds, *flops)}
    used = usage(seconds, prices, gpu_names())
    return {
        "best_metric": best[f"eval_{metric}"],
        "best_epoch": best["epoch"],
        "epochs": evaluations[-1]["epoch"],
        **effort,
        "usage": used,
        "validation": {name: best[f"eval_{name}"] for name in dict.fromkeys((*VALIDATION_METRICS, metric))},
        "report_html": _report(state.log_history, best, {**effort, **used}),
    }


def _read_split(directory: Path, split: str, labels: list[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    table = pq.read_table(directory / f"{split}.parquet", columns=["input_ids", "label"]).to_pydict()
    index = {label: number for number, label in enumerate(labels)}
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": index[label]}
        for ids, label in zip(table["input_ids"], table["label"], strict=True)
    ]


def _tokens(examples: list[dict[str, Any]]) -> int:
    return sum(len(example["input_ids"]) for example in examples)


def _report(log: list[dict[str, float]], best: dict[str, float], used: dict[str, float]) -> str:
    facts = [
        ("best epoch", f"{best['epoch']:g}"),
        *((f"validation {name}", best[f"eval_{name}"]) for name in VALIDATION_METRICS),
        *((name, f"{value:,.4g}" if value < 1000 else f"{value:,.0f}") for name, value in used.items()),
    ]
    blocks = [
        Facts([(name.replace("_", " "), value) for name, value in facts]),
        Figure("Curves", plots.to_svg(plots.training_curves(log))),
    ]
    return render_html("Training", "Loss and metrics by epoch; the best epoch's weights are kept.", blocks)
