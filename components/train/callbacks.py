"""What happens between the steps of the Trainer: progress lines, tracking, and checkpoints to resume from."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.progress import report_progress
from kfp_textclf.components.common.tracking import TrackedRun
from kfp_textclf.components.train.checkpoints import Checkpoints
from kfp_textclf.components.train.preemption import Preempted, Preemption

GRACE_SECONDS = 25.0  # Kubernetes kills 30 s after SIGTERM


class ProgressCallback(TrainerCallback):
    """Prints progress lines, and stops a training whose loss is no longer a number."""

    resumed: dict[str, int]  # from a step, or empty

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say where a resumed training starts."""
        self.resumed = {"resumed from step": state.global_step} if state.global_step else {}
        if self.resumed and state.is_world_process_zero:
            print(f"resumed from step {state.global_step} of {state.max_steps}", flush=True)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Print the figures that the Trainer logs.

        Raises:
            UserError: The loss is no longer a number.
        """
        for name in ("loss", "eval_loss"):
            if not math.isfinite((logs or {}).get(name, 0.0)):
                raise UserError(
                    f"training diverged: {name} is {logs[name]} at step {state.global_step}; lower learning_rate"
                )
        shown = {name: round(logs[name], 4) for name in ("loss", "eval_matthews_correlation") if name in (logs or {})}
        if state.is_world_process_zero:
            shown = {"epoch": round(state.epoch or 0, 2), **shown, **self.resumed}
            report_progress(state.global_step, state.max_steps, **shown)


class TrackingCallback(TrainerCallback):
    """Logs what the Trainer logs to the step's tracked run, validation figures under ``validation/``."""

    def __init__(self, tracked: TrackedRun) -> None:
        """Log to this run."""
        self.tracked = tracked

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Log the figures."""
        figures = {name.replace("eval_", "validation/", 1): value for name, value in (logs or {}).items()}
        self.tracked.log(figures, step=state.global_step)


class CheckpointCallback(TrainerCallback):
    """Takes checkpoints at step boundaries, and ends the training there when SIGTERM has come.

    Transformers' own ``enable_jit_checkpoint`` may save between the backward pass and the optimizer's step: the resumed
    training then repeats that batch with other dropout masks, and ends elsewhere. And it ends with exit code 0.
    """

    def __init__(self, checkpoints: Checkpoints | None, preemption: Preemption) -> None:
        """Keep checkpoints in a store if there is one; watch for SIGTERM in any case."""
        self.checkpoints = checkpoints
        self.preemption = preemption

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for a checkpoint when one is due; that of an epoch's last step waits for the epoch's evaluation."""
        if (state.epoch or 0.0).is_integer():
            return
        if not self.checkpoints:
            self._stop_if_asked(self._asked(), state, control)
        elif self._asked() or state.global_step % self.checkpoints.every == 0:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Store the checkpoint that was just taken."""
        asked = self._asked()  # and every process has written its part
        if self.checkpoints and state.is_world_process_zero:
            self.checkpoints.submit(Path(str(args.output_dir)), state.global_step, state.best_global_step)
        self._stop_if_asked(asked, state, control)

    def _asked(self) -> bool:
        """Return whether any of the processes was told to end: one that ends alone leaves the others waiting."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            asked: list[bool | None] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(asked, self.preemption.requested)
            return any(asked)
        return self.preemption.requested

    def _stop_if_asked(self, asked: bool, state: TrainerState, control: TrainerControl) -> None:
        if asked and not control.should_training_stop:
            if self.checkpoints and state.is_world_process_zero:
                self.checkpoints.wait(GRACE_SECONDS)
            print(f"stopped by SIGTERM at step {state.global_step} of {state.max_steps}", flush=True)
            raise Preempted
