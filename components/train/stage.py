"""Fine-tune a Hugging Face encoder into a classifier."""

import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common import plots
from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.base_models import resolve_base_model
from kfp_textclf.components.common.report import Facts, Figure, render_html
from kfp_textclf.components.train.settings import TrainSettings, hardware_precision

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
VALIDATION_METRICS = ("matthews_correlation", "macro_f1", "accuracy", "loss")


@dataclass(frozen=True)
class TrainedModel:
    """What was trained.

    Attributes:
        base_model: URI of the base model, its revision included.
        settings: The hyper-parameters, seed included.
        precision: ``bf16`` or ``fp32``.
        best_metric: Value of ``metric_for_best_model`` at the epoch that was kept.
        best_epoch: That epoch.
        epochs: Epochs trained, fewer than asked for after an early stop.
        seconds: Time spent training and validating.
        tokens_per_second: Training tokens, padding not counted, by that time.
        validation: Metrics of the epoch that was kept, on the validation rows.
    """

    base_model: str
    settings: dict[str, Any]
    precision: str
    best_metric: float
    best_epoch: float
    epochs: float
    seconds: float
    tokens_per_second: float
    validation: dict[str, float]
    report_html: str = field(repr=False)

    def metrics(self) -> dict[str, float]:
        """Return the figures that a dashboard compares across runs."""
        figures = {name: getattr(self, name) for name in ("best_epoch", "epochs", "seconds", "tokens_per_second")}
        return {**{f"validation_{name}": value for name, value in self.validation.items()}, **figures}

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        fields = asdict(self)
        del fields["report_html"]
        return {**fields, "seed": self.settings["seed"], "framework": "pytorch"}


def train(dataset: str, output: str, *, base_model: str, settings: TrainSettings) -> TrainedModel:
    """Fine-tune ``base_model`` on the training rows; every choice is made on the validation rows.

    Args:
        dataset: Directory of a prepared data set.
        output: Directory to write: ``save_pretrained`` files (safetensors), the tokenizer, ``training.json``.
        base_model: URI of the base model, the same as the data set was tokenised for.
        settings: Hyper-parameters.

    Raises:
        UserError: The data set or base model is unusable, or the training diverged.
    """
    from kfp_textclf.components.train.fine_tuning import fine_tune

    directory = verified(dataset)
    labels = read_json(directory / "labels.json")
    train_rows, validation_rows = (_read_split(directory, split, labels) for split in ("train", "validation"))
    precision = hardware_precision() if settings.precision == "auto" else settings.precision
    started = time.perf_counter()
    model, state = fine_tune(resolve_base_model(base_model), labels, train_rows, validation_rows, settings, precision)
    seconds = time.perf_counter() - started
    evaluations = [entry for entry in state.log_history if "eval_loss" in entry]
    best = min(evaluations, key=lambda entry: (entry["step"] != state.best_global_step, -entry["step"]))
    trained = TrainedModel(
        base_model=base_model,
        settings=asdict(settings),
        precision=precision,
        best_metric=best[f"eval_{settings.metric_for_best_model}"],
        best_epoch=best["epoch"],
        epochs=evaluations[-1]["epoch"],
        seconds=seconds,
        tokens_per_second=_tokens(train_rows) * evaluations[-1]["epoch"] / seconds,
        validation={name: best[f"eval_{name}"] for name in VALIDATION_METRICS},
        report_html=_report(state.log_history, best),
    )
    with atomic_directory(output, "train_classifier") as target:
        model.save_pretrained(target)
        for name in TOKENIZER_FILES:
            if (directory / name).is_file():
                shutil.copyfile(directory / name, target / name)
        write_json(target / "training.json", {**trained.metadata(), "log": state.log_history})
    return trained


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


def _report(log: list[dict[str, float]], best: dict[str, float]) -> str:
    facts = [
        ("best epoch", f"{best['epoch']:g}"),
        *((f"validation {name}", best[f"eval_{name}"]) for name in VALIDATION_METRICS),
    ]
    blocks = [
        Facts([(name.replace("_", " "), value) for name, value in facts]),
        Figure("Curves", plots.to_svg(plots.training_curves(log))),
    ]
    return render_html("Training", "Loss and metrics by epoch; the best epoch's weights are kept.", blocks)
