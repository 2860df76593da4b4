"""Fine-tuning with the Hugging Face Trainer."""

import math
import os
import tempfile
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kfp_textclf.components.common.classification import confusion_matrix, per_class, quality
from kfp_textclf.components.common.tracking import TrackedRun
from kfp_textclf.components.train.base_model import check_rows, freeze_embeddings, load_model
from kfp_textclf.components.train.checkpoints import STATE, UPLOAD_SECONDS, Checkpoints, is_finished
from kfp_textclf.components.train.distributed import JOB, Place
from kfp_textclf.components.train.preemption import Preemption
from kfp_textclf.components.train.reproducibility import make_deterministic
from kfp_textclf.components.train.settings import CLASS_F1, TrainSettings, training_arguments

if TYPE_CHECKING:
    import torch
    from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import TrainerState

Example = dict[str, Any]  # input_ids: list of token ids; labels: class index


def fine_tune(
    base_model: Path,
    labels: list[str],
    train: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    precision: str,
    checkpoints: Checkpoints | None,
    preemption: Preemption,
    tracked: TrackedRun,
) -> "tuple[PreTrainedModel, TrainerState]":
    """Fine-tune a base model and return it with the weights of its best epoch, and the Trainer's record.

    Args:
        base_model: Directory of the model.
        labels: Class names; an example's ``labels`` is an index into them.
        train: Examples to learn from.
        validation: Examples to choose the best epoch on.
        settings: Hyper-parameters.
        precision: ``bf16`` or ``fp32``.
        checkpoints: Where the training is resumed from, and can be resumed from later; None for nowhere.
        preemption: Tells when to end before the training is complete.
        tracked: Where the curves are logged.

    Raises:
        UserError: The base model is unusable, or the loss is no longer a number.
        Preempted: SIGTERM came before the training was complete.
    """
    from transformers import set_seed
    from transformers.trainer_callback import TrainerState
    from transformers.utils import logging

    from kfp_textclf.components.train.kernels import use_lean_kernels

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    make_deterministic(settings.processes)
    with _scratch() as scratch:
        restored = _restored(checkpoints, Path(scratch))
        if restored and is_finished(restored):
            print("resumed after the last step: the training was complete", flush=True)
            state = TrainerState.load_from_json(str(restored / STATE))
            return load_model(Path(state.best_model_checkpoint or restored), labels).eval(), state
        set_seed(settings.seed)
        model = load_model(base_model, labels)
        check_rows(model, base_model, [*train, *validation])
        if settings.freeze_embeddings:
            freeze_embeddings(model)
        use_lean_kernels(model)
        steps = math.ceil(len(train) / settings.batch_size) * settings.epochs
        arguments = training_arguments(settings, precision, steps, Path(scratch), resumable=checkpoints is not None)
        callbacks = _callbacks(settings, checkpoints, preemption, tracked)
        trainer = _trainer(model, arguments, train, validation, settings, callbacks)
        trainer.train(resume_from_checkpoint=str(restored) if restored else None)
        if checkpoints:
            checkpoints.wait(UPLOAD_SECONDS)
    return model.cpu().eval(), trainer.state


def _scratch() -> "AbstractContextManager[str]":
    """Return a new directory, or the one that the processes of the training share."""
    if shared := os.environ.get(JOB):
        return nullcontext(shared)
    # An error may end the block while an upload still reads there.
    return tempfile.TemporaryDirectory(prefix="kfp-textclf-train-", ignore_cleanup_errors=True)


def _restored(checkpoints: Checkpoints | None, scratch: Path) -> Path | None:
    """Return the checkpoint to resume from; of several processes the first one fetches it."""
    if not checkpoints:
        return None
    if Place.current().processes == 1:
        return checkpoints.restore(scratch)
    import torch
    from accelerate import PartialState

    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        return checkpoints.restore(scratch)


def _callbacks(
    settings: TrainSettings, checkpoints: Checkpoints | None, preemption: Preemption, tracked: TrackedRun
) -> "list[TrainerCallback]":
    from transformers import EarlyStoppingCallback

    from kfp_textclf.components.train.callbacks import CheckpointCallback, ProgressCallback, TrackingCallback

    callbacks: list[TrainerCallback] = [ProgressCallback(), TrackingCallback(tracked)]
    callbacks.append(CheckpointCallback(checkpoints, preemption))
    if settings.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
    return callbacks


def _trainer(
    model: "PreTrainedModel",
    arguments: "TrainingArguments",
    train: list[Example],
    validation: list[Example],
    settings: TrainSettings,
    callbacks: "list[TrainerCallback]",
) -> "Trainer":
    from transformers.trainer_callback import PrinterCallback

    from kfp_textclf.components.train.batching import LengthGroupedTrainer, filled_up, pad_batch

    labels = [str(label) for label in (model.config.id2label or {}).values()]
    trainer = LengthGroupedTrainer(
        model,
        arguments,
        data_collator=partial(pad_batch, padding=model.config.pad_token_id or 0),
        # A list is all that the Trainer needs.
        train_dataset=filled_up(train, settings.batch_size) if settings.processes > 1 else train,  # type: ignore[arg-type]
        eval_dataset=sorted(validation, key=lambda row: len(row["input_ids"])),  # type: ignore[arg-type]
        compute_metrics=lambda prediction: _validation_figures(prediction, labels),
        compute_loss_func=_loss(settings, train, len(labels)),
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


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


def _loss(settings: TrainSettings, train: list[Example], classes: int) -> Any:
    """Return the Trainer's loss function for class weights or several processes, or None for the model's own.

    The sum over the rows by their number, that of all processes: the mean of a batch's own weights would cancel them
    where its rows are of one class, and a process may have fewer rows of the last batch than others.
    """
    if settings.class_weights == "none" and settings.processes <= 1:
        return None
    import torch

    counts = Counter(example["labels"] for example in train)
    weight = torch.tensor(class_weights(settings.class_weights, [counts[index] for index in range(classes)]))

    def loss(outputs: Any, labels: "torch.Tensor", num_items_in_batch: "torch.Tensor") -> "torch.Tensor":
        logits = outputs["logits"].float()
        weighted = torch.nn.functional.cross_entropy(logits, labels, weight.to(logits.device), reduction="sum")
        return weighted / num_items_in_batch

    return loss


def _validation_figures(prediction: "EvalPrediction", labels: list[str]) -> dict[str, float]:
    logits = np.asarray(prediction.predictions)
    matrix = confusion_matrix(np.asarray(prediction.label_ids), logits.argmax(axis=-1), logits.shape[-1])
    scores = per_class(matrix, labels)
    return {**quality(matrix), **{f"{CLASS_F1}{score.label}": score.f1 for score in scores if score.support}}
