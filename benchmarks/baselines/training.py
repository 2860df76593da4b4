"""How others fine-tune: the tutorial's way, and the Trainer with dynamic padding as it comes.

Both start from texts that are tokenised already, as ours does, keep the weights of the best epoch, and write a model.

- `tutorial`: every text padded to 128 tokens, fp32, batches of 16 in random order, AdamW of one kernel an operation as
  torch had it then, everything trained, validation and a checkpoint after each epoch.
- `plain`: padded to the longest text of the batch, fp32, what `TrainingArguments` defaults to otherwise (fused AdamW).
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PADDED = 128
BATCH = 16

Rows = Sequence[dict[str, Any]]  # input_ids, attention_mask, labels


def arguments(directory: Path, **changes: Any) -> Any:
    """Return the arguments of both, with some changed."""
    from transformers import TrainingArguments

    options: dict[str, Any] = {
        "output_dir": str(directory),
        "per_device_train_batch_size": BATCH,
        "per_device_eval_batch_size": BATCH,
        "num_train_epochs": 1,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "load_best_model_at_end": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return TrainingArguments(**{**options, **changes})


def load(base_model: Path, classes: int) -> Any:
    """Load a base model with a new head."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(base_model, num_labels=classes)


def padded(rows: Rows) -> list[dict[str, Any]]:
    """Return rows filled up to 128 tokens, as ``padding="max_length"`` gives them."""
    filled = []
    for row in rows:
        empty = [0] * (PADDED - len(row["input_ids"]))
        ids, mask = row["input_ids"] + empty, row["attention_mask"] + empty
        filled.append({"input_ids": ids, "attention_mask": mask, "labels": row["labels"]})
    return filled


def tutorial(base_model: Path, classes: int, train: Rows, validation: Rows, directory: Path, **changes: Any) -> Any:
    """Return the Trainer of the tutorial's way."""
    from transformers import Trainer, default_data_collator

    return Trainer(
        load(base_model, classes),
        arguments(directory, **{"optim": "adamw_torch", **changes}),
        data_collator=default_data_collator,
        train_dataset=padded(train),  # type: ignore[arg-type]
        eval_dataset=padded(validation),  # type: ignore[arg-type]
    )


def plain(base_model: Path, classes: int, train: Rows, validation: Rows, directory: Path, **changes: Any) -> Any:
    """Return the Trainer with dynamic padding."""
    from transformers import AutoTokenizer, DataCollatorWithPadding, Trainer

    return Trainer(
        load(base_model, classes),
        arguments(directory, **changes),
        data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(base_model)),
        train_dataset=train,  # type: ignore[arg-type]
        eval_dataset=validation,  # type: ignore[arg-type]
    )


def run(way: Any, base_model: Path, classes: int, train: Rows, validation: Rows, output: Path) -> None:
    """Train from loading the base model to the written model."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = way(base_model, classes, train, validation, Path(directory))
        trainer.train()
        trainer.model.save_pretrained(output)
