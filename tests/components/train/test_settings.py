"""Hyper-parameters, and what the Trainer is told."""

from pathlib import Path

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.train.settings import TrainSettings, hardware_precision, training_arguments


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_weights": "inverse"}, "class_weights='inverse': is not one of none, balanced, sqrt"),
        ({"precision": "fp16"}, "precision='fp16': is not one of auto, bf16, fp32"),
        ({"metric_for_best_model": "f1"}, "metric_for_best_model='f1': is not one of accuracy, "),
        ({"epochs": 0}, "epochs=0: must be above 0"),
        ({"batch_size": -1}, "batch_size=-1: must be above 0"),
        ({"learning_rate": 0.0}, r"learning_rate=0\.0: must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate=nan: must be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate=inf: must be"),
        ({"warmup_ratio": 1.0}, r"warmup_ratio=1\.0: must lie between 0 and 1"),
        ({"weight_decay": -0.1}, r"weight_decay=-0\.1: must"),
        ({"weight_decay": float("nan")}, "weight_decay=nan: must"),
        ({"early_stopping_patience": -1}, "early_stopping_patience=-1: must"),
    ],
    ids=str,
)
def test_setting_that_cannot_be_meant_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainSettings(**changes)


def test_precision_is_one_that_can_be_trained_in() -> None:
    assert hardware_precision() in ("bf16", "fp32")


@pytest.mark.parametrize(("metric", "greater"), [("matthews_correlation", True), ("loss", False)])
def test_best_epoch_is_chosen_by_validation(tmp_path: Path, metric: str, greater: bool) -> None:
    arguments = training_arguments(TrainSettings(metric_for_best_model=metric), "fp32", 100, tmp_path)
    assert arguments.metric_for_best_model == f"eval_{metric}"
    assert arguments.greater_is_better is greater
    assert arguments.load_best_model_at_end
    assert arguments.bf16 is False


@pytest.mark.parametrize("steps", [1, 7, 1000, 10**6])
def test_loss_is_logged_some_fifty_times(tmp_path: Path, steps: int) -> None:
    every = training_arguments(TrainSettings(), "fp32", steps, tmp_path).logging_steps
    assert min(steps, 25) <= steps / every <= 100
