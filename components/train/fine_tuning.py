"""Fine-tuning with the Hugging Face Trainer."""

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_textclf.components.common.classification import confusion_matrix, quality
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus
from kfp_textclf.components.common.progress import report_progress
from kfp_textclf.components.train.settings import TrainSettings, training_arguments

if TYPE_CHECKING:
    import torch
    from transformers import EvalPrediction, PreTrainedModel, TrainerCallback
    from transformers.trainer_callback import TrainerState

Example = dict[str, Any]  # input_ids: list of token ids; labels: class index


def load_model(base_model: Path, labels: list[str]) -> "PreTrainedModel":
    """Load a base model with a new classification head, from safetensors alone.

    Raises:
        UserError: The directory holds no safetensors weights of a model that can classify sequences.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    try:
        return AutoModelForSequenceClassification.from_pretrained(
            base_model,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{base_model}: cannot be loaded as a classifier from safetensors ({error})") from error


def fine_tune(
    base_model: Path,
    labels: list[str],
    train: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    precision: str,
) -> "tuple[PreTrainedModel, TrainerState]":
    """Fine-tune a base model and return it with the weights of its best epoch, and the Trainer's record.

    Args:
        base_model: Directory of the model.
        labels: Class names; an example's ``labels`` is an index into them.
        train: Examples to learn from.
        validation: Examples to choose the best epoch on.
        settings: Hyper-parameters.
        precision: ``bf16`` or ``fp32``.

    Raises:
        UserError: The loss is no longer a number.
    """
    import torch
    from transformers import AutoTokenizer, DataCollatorWithPadding, EarlyStoppingCallback, set_seed
    from transformers.trainer_callback import PrinterCallback
    from transformers.utils import logging

    from kfp_textclf.components.train.batching import LengthGroupedTrainer

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(available_cpus())
    set_seed(settings.seed)
    model = load_model(base_model, labels)
    if settings.freeze_embeddings:
        model.base_model.embeddings.requires_grad_(False)
    callbacks: list[TrainerCallback] = [_progress_callback()]
    if settings.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
    steps = math.ceil(len(train) / settings.batch_size) * settings.epochs
    with tempfile.TemporaryDirectory(prefix="kfp-textclf-train-") as checkpoints:
        trainer = LengthGroupedTrainer(
            model,
            training_arguments(settings, precision, steps, Path(checkpoints)),
            data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(base_model, trust_remote_code=False)),
            train_dataset=train,  # type: ignore[arg-type]  (a list is all that the Trainer needs)
            eval_dataset=validation,  # type: ignore[arg-type]
            compute_metrics=_compute_metrics,
            compute_loss_func=_weighted_loss(settings.class_weights, train, len(labels)),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return model.cpu().eval(), trainer.state


def class_weights(scheme: str, counts: list[int]) -> list[float]:
    """Return the weight of each class in the loss; their mean over the rows is 1.

    Args:
        scheme: ``none``, ``balanced`` or ``sqrt``, see `TrainSettings`.
        counts: Training rows per class.
    """
    power = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}[scheme]
    raw = [max(count, 1) ** -power for count in counts]
    mean = sum(weight * count for weight, count in zip(raw, counts, strict=True)) / sum(counts)
    return [weight / mean for weight in raw]


def _weighted_loss(scheme: str, train: list[Example], classes: int) -> Any:
    """Return the Trainer's loss function for class weights, or None for its own."""
    if scheme == "none":
        return None
    import torch

    counts = Counter(example["labels"] for example in train)
    weight = torch.tensor(class_weights(scheme, [counts[index] for index in range(classes)]))

    def loss(outputs: Any, labels: "torch.Tensor", num_items_in_batch: Any = None) -> "torch.Tensor":
        logits = outputs["logits"].float()
        return torch.nn.functional.cross_entropy(logits, labels, weight.to(logits.device))

    return loss


def _compute_metrics(prediction: "EvalPrediction") -> dict[str, float]:
    logits = np.asarray(prediction.predictions)
    return quality(confusion_matrix(np.asarray(prediction.label_ids), logits.argmax(axis=-1), logits.shape[-1]))


def _progress_callback() -> "TrainerCallback":
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        """Prints progress lines, and stops a training whose loss is no longer a number."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            for name in ("loss", "eval_loss"):
                if not math.isfinite((logs or {}).get(name, 0.0)):
                    raise UserError(
                        f"training diverged: {name} is {logs[name]} at step {state.global_step}; lower learning_rate"
                    )
            shown = {
                name: round(logs[name], 4) for name in ("loss", "eval_matthews_correlation") if name in (logs or {})
            }
            report_progress(state.global_step, state.max_steps, epoch=round(state.epoch or 0, 2), **shown)

    return ProgressCallback()
