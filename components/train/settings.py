"""How a fine-tuning is done, and what the hardware allows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_textclf.components.common.classification import QUALITY
from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from transformers import TrainingArguments

CLASS_WEIGHTS = ("none", "balanced", "sqrt")
PRECISIONS = ("auto", "bf16", "fp32")
METRICS = (*QUALITY, "loss")
CLASS_F1 = "f1/"  # and a label: the F1 of that class
LOG_LINES = 50  # loss values kept of a whole training


@dataclass(frozen=True)
class TrainSettings:
    """Hyper-parameters.

    Attributes:
        epochs: Passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Peak of the schedule: linear warm-up, then linear decay to 0.
        warmup_ratio: Share of the steps spent warming up.
        weight_decay: AdamW's weight decay.
        freeze_embeddings: Keep the embeddings of the base model: half of a small model's parameters, hence half the
            optimizer.
        class_weights: Weight of a class in the loss: ``none``, ``balanced`` (inverse to its rows) or ``sqrt`` of that.
        early_stopping_patience: Epochs without improvement after which training stops; 0 to never stop early.
        metric_for_best_model: Which epoch's weights are kept, judged on the validation rows: one of `METRICS`, or
            ``f1/LABEL``.
        precision: ``bf16``, ``fp32``, or ``auto``: bf16 where the hardware multiplies in it.
        seed: Seed of the new head, of dropout and of the order of rows.
        processes: Among which each batch is divided; 0 for one for each GPU.
    """

    epochs: int = 4
    batch_size: int = 16
    learning_rate: float = 2e-4
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    freeze_embeddings: bool = True
    class_weights: str = "none"
    early_stopping_patience: int = 2
    metric_for_best_model: str = "matthews_correlation"
    precision: str = "auto"
    seed: int = 13
    processes: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant (``UserError``)."""
        for name, allowed in (
            ("class_weights", CLASS_WEIGHTS),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name}={getattr(self, name)!r}: is not one of {', '.join(allowed)}")
        check_metric(self.metric_for_best_model)
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)}: must be above 0 and finite")
        for name in ("weight_decay", "early_stopping_patience", "processes"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)}: must be 0 or more, and finite")
        if self.batch_size % max(1, self.processes):
            raise UserError(
                f"batch_size={self.batch_size}: cannot be divided among {self.processes} processes; make it a multiple"
            )
        if not 0 <= self.warmup_ratio < 1:
            raise UserError(f"warmup_ratio={self.warmup_ratio}: must lie between 0 and 1")


def check_metric(metric: str, validated: Iterable[str] | None = None) -> None:
    """Refuse a ``metric_for_best_model`` that is not reported.

    Args:
        metric: One of `METRICS`, or ``f1/LABEL``.
        validated: Labels of the validation rows; not looked at when None.

    Raises:
        UserError: It is none of them.
    """
    label = metric.removeprefix(CLASS_F1) if metric.startswith(CLASS_F1) else ""
    if metric not in METRICS and not label:
        raise UserError(f"metric_for_best_model={metric!r}: is not one of {', '.join(METRICS)}, {CLASS_F1}LABEL")
    labels = [] if validated is None else sorted(set(validated))
    if label and labels and label not in labels:
        shown = ", ".join(labels[:20]) + (", ..." if len(labels) > 20 else "")
        raise UserError(f"metric_for_best_model={metric!r}: no validation row has that label; there are {shown}")


def hardware_precision() -> str:
    """Return ``bf16`` where a GPU or CPU of this machine multiplies in bfloat16, else ``fp32``."""
    import torch

    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") else "fp32"


def training_arguments(
    settings: TrainSettings, precision: str, steps: int, directory: Path, resumable: bool = False
) -> "TrainingArguments":
    """Translate the settings into those of the Hugging Face Trainer.

    Args:
        settings: Hyper-parameters.
        precision: ``bf16`` or ``fp32``.
        steps: Optimizer steps of the whole training.
        directory: Where checkpoints go.
        resumable: Checkpoints hold what a training is resumed from, not only the weights.
    """
    import torch
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        output_dir=str(directory),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size // max(1, settings.processes),
        per_device_eval_batch_size=64,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_ratio,  # below 1: a share of all steps
        weight_decay=settings.weight_decay,
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        dataloader_num_workers=int(torch.cuda.is_available()),  # a process that fills batches while the GPU computes
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=None if resumable else 1,  # `Checkpoints.submit` knows which of them are still uploaded
        save_only_model=not resumable,
        restore_callback_states_from_checkpoint=True,  # the patience of early stopping
        load_best_model_at_end=True,
        metric_for_best_model=f"eval_{settings.metric_for_best_model}",
        greater_is_better=settings.metric_for_best_model != "loss",
        logging_steps=max(1, steps // LOG_LINES),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        average_tokens_across_devices=settings.processes > 1,  # the loss is by the rows of all processes
        seed=settings.seed,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # a process has one GPU: no torch.nn.DataParallel over all that it sees
    return arguments
