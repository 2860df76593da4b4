"""Whether the faster training learns as well: ``make bench ONLY=quality``.

Over some seeds, the train step as it ships beside the Trainer with dynamic padding, fp32 and random order, both with
the same hyper-parameters, judged on the test rows by the Matthews correlation. Padding to 128 tokens with a mask is the
same model as dynamic padding (it is compared here once), and would take six times as long.
"""

import argparse
import math
import tempfile
from pathlib import Path
from typing import Any

import measure
import work

SCRIPT = "quality"
T_95 = {2: 6.314, 3: 2.920, 4: 2.353, 5: 2.132, 6: 2.015, 7: 1.943, 8: 1.895, 9: 1.860, 10: 1.833}  # one-sided


def examples(split: str) -> list[dict[str, Any]]:
    """Return the rows of a split as the Trainer takes them."""
    columns = work.rows(split)
    index = {label: number for number, label in enumerate(labels())}
    return [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": index[label]}
        for ids, label in zip(columns["input_ids"], columns["label"], strict=True)
    ]


def labels() -> list[str]:
    """Return the class names."""
    from kfp_textclf.components.common.artifacts import read_json

    return read_json(work.prepared("minilm") / "labels.json")


def logits(model: Any, rows: list[dict[str, Any]], length: int = 0) -> Any:
    """Return a model's logits, in the order of the rows, which are padded to a length or to the batch's longest."""
    import numpy as np
    import torch

    order = sorted(range(len(rows)), key=lambda number: len(rows[number]["input_ids"]))
    found = np.zeros((len(rows), model.config.num_labels), np.float32)
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        ids = [torch.tensor(rows[number]["input_ids"]) for number in chosen]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        padded = torch.nn.functional.pad(padded, (0, max(0, length - padded.shape[1])))
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(i) for i in ids], batch_first=True)
        mask = torch.nn.functional.pad(mask, (0, padded.shape[1] - mask.shape[1]))
        with torch.inference_mode():
            found[chosen] = model.eval()(input_ids=padded, attention_mask=mask).logits.numpy()
    return found


def score(model: Any) -> float:
    """Return the Matthews correlation on the test rows."""
    rows = examples("test")
    return quality_of(logits(model, rows), [row["labels"] for row in rows])["matthews_correlation"]


def quality_of(found: Any, truth: Any) -> dict[str, float]:
    """Return the metrics of logits."""
    import numpy as np

    from kfp_textclf.components.common.classification import confusion_matrix, quality

    return quality(confusion_matrix(np.asarray(truth), np.asarray(found).argmax(axis=-1), len(labels())))


def slow(seed: int, epochs: int, directory: Path) -> Any:
    """Train in random order with dynamic padding, in fp32."""
    from baselines.training import plain
    from transformers import set_seed

    from kfp_textclf.components.common.base_models import resolve_base_model
    from kfp_textclf.components.train.settings import TrainSettings

    same = TrainSettings(seed=seed, epochs=epochs)
    options = {"num_train_epochs": epochs, "learning_rate": same.learning_rate, "warmup_steps": same.warmup_ratio}
    options |= {"seed": seed, "metric_for_best_model": "matthews_correlation", "save_only_model": True}
    set_seed(seed)
    base = resolve_base_model(work.MINILM)
    trainer = plain(base, len(labels()), examples("train"), examples("validation"), directory, **options)
    trainer.compute_metrics = lambda found: quality_of(found.predictions, found.label_ids)
    trainer.model.base_model.embeddings.requires_grad_(False)  # a setting, not a speed-up: as ours
    trainer.train()
    return trainer.model


def fast(seed: int, epochs: int, directory: Path) -> Any:
    """Train as the step does."""
    from transformers import AutoModelForSequenceClassification

    from kfp_textclf.components.train.settings import TrainSettings
    from kfp_textclf.components.train.stage import train

    settings = TrainSettings(seed=seed, epochs=epochs, early_stopping_patience=0)
    train(str(work.prepared("minilm")), str(directory / "model"), base_model=work.MINILM, settings=settings)
    return AutoModelForSequenceClassification.from_pretrained(directory / "model")


def compared(pairs: list[dict[str, float]]) -> dict[str, float]:
    """Return mean difference (fast - slow), its one-sided 95 % bound, and what difference would have been seen."""
    differences = [pair["fast"] - pair["slow"] for pair in pairs]
    mean = sum(differences) / len(differences)
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / max(1, len(differences) - 1))
    visible = T_95.get(len(pairs), 1.8) * deviation / math.sqrt(len(pairs))
    return {"mean_difference": mean, "deviation": deviation, "visible": visible, "upper_bound": mean + visible}


def main() -> None:
    """Train the pairs, and keep what came of each at once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="as few as still learn: 2 are half of params.yaml's")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    measure.save(SCRIPT, machine=measure.pin(options.threads), data=work.dataset_name(), epochs=options.epochs)
    pairs: list[dict[str, float]] = []
    for seed in range(1, options.seeds + 1):
        with tempfile.TemporaryDirectory() as directory:
            model = fast(seed, options.epochs, Path(directory))
            pair = {"seed": seed, "fast": score(model)}
            pair["slow"] = score(slow(seed, options.epochs, Path(directory)))
            if not pairs:
                rows = examples("test")[:200]
                same = float(abs(logits(model, rows) - logits(model, rows, length=128)).max())
                measure.save(SCRIPT, padding={"rows": len(rows), "max_logit_difference": same})
        pairs.append(pair)
        print(pair, flush=True)
        keep(pairs)


def keep(pairs: list[dict[str, float]]) -> None:
    """Write the pairs so far, and the words of the page."""
    figures = compared(pairs)
    measure.save(SCRIPT, pairs=pairs, compared=figures)
    points = {name: f"{100 * value:+.2f}" for name, value in figures.items()}
    verdict = "is not significantly lower" if figures["upper_bound"] >= 0 else "is significantly lower"
    found = measure.load(f"{SCRIPT}.json")
    measure.save(
        SCRIPT,
        title="Quality of the faster training",
        notes=[
            f"{len(pairs)} seeds, {found['epochs']} epochs on {found['data']}, MiniLM, Matthews correlation on the "
            f"test rows in points (hundredths). Mean difference, fast minus slow: {points['mean_difference']}, "
            f"standard deviation of the differences {points['deviation'][1:]}. The faster training **{verdict}** "
            f"(one-sided paired t-test, 5 %). A drop of less than {points['visible'][1:]} points on average cannot be "
            "seen with so few pairs: seeds alone move a score by about 0.7.",
            f"Padding to 128 tokens gives the same model as dynamic padding: logits of {found['padding']['rows']} rows "
            f"differ by at most {found['padding']['max_logit_difference']:.1e}. So the slow side pads dynamically.",
        ],
        tables=[
            {
                "title": "Matthews correlation by seed",
                "columns": ["seed", "fast", "slow"],
                "rows": [[pair["seed"], f"{pair['fast']:.4f}", f"{pair['slow']:.4f}"] for pair in pairs],
            }
        ],
    )
    measure.record(
        "quality_training_upper_bound",
        1 + figures["upper_bound"],
        1.0,
        sum(pair["fast"] for pair in pairs) / len(pairs),
        sum(pair["slow"] for pair in pairs) / len(pairs),
        "MCC",
        script=SCRIPT,
        against="random order, dynamic padding, fp32, the same seeds",
        limit="1 plus the upper 95 % bound of the paired difference: below 1, the faster one is significantly worse",
    )


if __name__ == "__main__":
    main()
