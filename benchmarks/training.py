"""Training beside the tutorial's way and the plain Trainer: ``make bench ONLY=training``.

ALBERT-base: rows a second of the Trainer's loop alone. MiniLM: rows a second of the whole step, from loading the base
model to the written fine-tuned one, with validation and checkpoints; imports apart. The slower ways are given fewer
rows: their time grows with the rows, and what is fixed weighs more on the fast one that way.
"""

import argparse
import json
import random
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import breakdown
import measure
import work

SCRIPT = "training"
ROWS = {"ours": 4000, "plain": 4000, "tutorial": 320}  # of the whole step: about all of ATIS; a tenth to validate
LOOP_ROWS = {"ours": 480, "tutorial": 48}
ABLATION_ROWS = 800
WARM_UP_ROWS = 16


def sample(name: str, count: int, split: str = "train") -> list[dict[str, Any]]:
    """Return some rows, drawn at random: lengths are those of all of them."""
    columns = work.rows(split, name)
    classes = _labels(name)
    index = {label: number for number, label in enumerate(classes)}
    rows = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": index[label]}
        for ids, label in zip(columns["input_ids"], columns["label"], strict=True)
    ]
    return random.Random(0).sample(rows, min(count, len(rows)))  # noqa: S311


def _labels(name: str) -> list[str]:
    return json.loads((work.prepared(name) / "labels.json").read_text(encoding="utf-8"))


def our_trainer(name: str, rows: list[dict[str, Any]], directory: Path, freeze: bool = True, lean: bool = True) -> Any:
    """Return the Trainer of the train step, without validation and checkpoints."""
    from kfp_textclf.components.common.base_models import resolve_base_model
    from kfp_textclf.components.train import fine_tuning
    from kfp_textclf.components.train.kernels import use_lean_kernels
    from kfp_textclf.components.train.settings import TrainSettings, hardware_precision, training_arguments

    base = resolve_base_model(work.base_model(name))
    model = fine_tuning.load_model(base, _labels(name))
    model.base_model.embeddings.requires_grad_(not freeze)
    if lean:
        use_lean_kernels(model)
    settings = TrainSettings(epochs=1)
    arguments = training_arguments(settings, hardware_precision(), len(rows) // settings.batch_size, directory)
    _loop_only(arguments)
    return fine_tuning._trainer(model, arguments, rows, rows[:8], settings, [])


def their_trainer(way: str, name: str, rows: list[dict[str, Any]], directory: Path) -> Any:
    """Return the Trainer of a baseline, without validation and checkpoints."""
    from baselines import training

    from kfp_textclf.components.common.base_models import resolve_base_model

    base = resolve_base_model(work.base_model(name))
    trainer = getattr(training, way)(base, len(_labels(name)), rows, rows[:8], directory)
    _loop_only(trainer.args)
    return trainer


def _loop_only(arguments: Any) -> None:
    from transformers.trainer_utils import IntervalStrategy

    arguments.eval_strategy = IntervalStrategy.NO
    arguments.load_best_model_at_end = False
    arguments.save_strategy = "no"


def loop_rate(make: Callable[[list[dict[str, Any]], Path], Any], name: str, count: int) -> Callable[[], float]:
    """Return a measurement: rows a second of a Trainer's loop, warmed up."""
    rows = sample(name, count)

    def run(chosen: list[dict[str, Any]] = rows) -> float:
        with tempfile.TemporaryDirectory() as directory:
            trainer = make(chosen, Path(directory))
            return len(chosen) / trainer.train().metrics["train_runtime"]

    run(rows[:WARM_UP_ROWS])
    return run


def albert(rounds: int) -> None:
    """Measure the loop on ALBERT-base, and its share of the peak."""
    from kfp_textclf.components.train.settings import hardware_precision
    from kfp_textclf.components.train.throughput import SIDE, flops_per_token, peak_flops

    precision = hardware_precision()
    figures = measure.interleaved(
        {
            "ours": loop_rate(lambda rows, at: our_trainer("albert", rows, at), "albert", LOOP_ROWS["ours"]),
            "tutorial": loop_rate(
                lambda rows, at: their_trainer("tutorial", "albert", rows, at), "albert", LOOP_ROWS["tutorial"]
            ),
            "peak": lambda: peak_flops(precision),
        },
        rounds,
        warm_up=0,
    )
    ours, tutorial, top = (figures[name].median for name in ("ours", "tutorial", "peak"))
    rows = sample("albert", LOOP_ROWS["ours"])
    tokens = sum(len(row["input_ids"]) for row in rows) / len(rows)
    with tempfile.TemporaryDirectory() as directory:
        lean, whole = (
            flops_per_token(our_trainer("albert", rows, Path(directory), lean=is_lean).model, rows)
            for is_lean in (True, False)
        )
    share, as_theirs = (ours * tokens * flops / top for flops in (lean, whole))
    measure.save(SCRIPT, albert={name: spread.dict() for name, spread in figures.items()})
    measure.save(SCRIPT, flops={"lean": lean, "as it came": whole, "tokens a row": tokens}, precision=precision)
    measure.record(
        "training_albert_rows_per_second",
        ours / tutorial,
        14,
        ours,
        tutorial,
        "rows/s",
        script=SCRIPT,
        against="padded to 128 tokens, fp32, batches of 16, AdamW as it was",
        limit=f"{share:.0%} of the measured {precision} peak of {top / 1e9:.0f} GFLOP/s",
        rest="see the table of what takes the time",
        notes=f"The texts have {tokens:.1f} tokens: not padding to 128 is worth {128 / tokens:.1f} alone, and anyone "
        "can do it. The target was set on a CPU that multiplies in bf16, twice as fast as in fp32; "
        f"this one trains in {precision}.",
    )
    measure.record(
        "training_albert_share_of_peak",
        share,
        0.60,
        ours * tokens * lean / 1e9,
        top / 1e9,
        "GFLOP/s",
        script=SCRIPT,
        against=f"square {precision} products, {SIDE['cpu']} x {SIDE['cpu']}, in torch, measured in the same run",
        limit=f"{share:.0%}; {as_theirs:.0%} if the operations that are saved were counted too",
        rest="see the table of what takes the time, and 2 % padding",
        notes=f"Measured in {precision}: bf16 is used where the CPU multiplies in it.",
    )


WHOLE_STEP = """
import json, sys, tempfile, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import training
work = json.loads(Path(sys.argv[2]).read_text())
import torch, transformers, transformers.trainer, accelerate
from kfp_textclf.components.train import callbacks, fine_tuning, stage
from baselines import training as baselines
torch.ones(512, 512) @ torch.ones(512, 512)
started = time.perf_counter()
share = training.whole_step(**work)
print(json.dumps({"seconds": time.perf_counter() - started, "share": share}))
"""


def whole_step(way: str, dataset: str, output: str) -> float:
    """Train on a prepared data set from loading the base model to the written one.

    Returns:
        The share of the peak that our step reports of itself; 0 of others.
    """
    from baselines import training as baselines

    from kfp_textclf.components.common.base_models import resolve_base_model
    from kfp_textclf.components.train.settings import TrainSettings
    from kfp_textclf.components.train.stage import _read_split, train

    if way == "ours":
        uri = Path(output).with_suffix(".checkpoints").as_uri()
        settings = TrainSettings(epochs=1)
        trained = train(dataset, output, base_model=work.MINILM, settings=settings, checkpoint_uri=uri)
        return trained.model_flops_utilisation
    labels = json.loads((Path(dataset) / "labels.json").read_text(encoding="utf-8"))
    training, validation = (_read_split(Path(dataset), split, labels) for split in ("train", "validation"))
    base = resolve_base_model(work.MINILM)
    baselines.run(getattr(baselines, way), base, len(labels), training, validation, Path(output))
    return 0.0


def subset(count: int, directory: Path) -> Path:
    """Write a prepared data set of fewer rows, a tenth as many of them to validate."""
    import pyarrow.parquet as pq

    from kfp_textclf.components.common.artifacts import atomic_directory

    whole = work.prepared("minilm")
    with atomic_directory(directory, "bench") as target:
        for file in whole.iterdir():
            if file.name != "manifest.json":
                shutil.copyfile(file, target / file.name)
        for split, rows in (("train", count), ("validation", count // 10)):
            table = pq.read_table(whole / f"{split}.parquet")
            chosen = random.Random(0).sample(range(table.num_rows), min(rows, table.num_rows))  # noqa: S311
            pq.write_table(table.take(sorted(chosen)), target / f"{split}.parquet")
    return directory


def minilm(rounds: int) -> None:
    """Measure the whole step on MiniLM."""
    from kfp_textclf.components.train.settings import hardware_precision

    shares: dict[str, list[float]] = {way: [] for way in ROWS}
    with tempfile.TemporaryDirectory() as scratch:

        def rate(way: str) -> Callable[[], float]:
            dataset = subset(ROWS[way], Path(scratch) / f"data-{way}")
            job = Path(scratch) / f"{way}.json"

            def run() -> float:
                output = Path(tempfile.mkdtemp(dir=scratch)) / "model"
                job.write_text(json.dumps({"way": way, "dataset": str(dataset), "output": str(output)}))
                found = measure.child("-c", WHOLE_STEP, str(Path(__file__).parent), str(job))
                shutil.rmtree(output.parent)
                shares[way].append(found["share"])
                return ROWS[way] / found["seconds"]

            return run

        figures = measure.interleaved({way: rate(way) for way in ROWS}, rounds, warm_up=0)
    measure.save(SCRIPT, minilm={name: spread.dict() for name, spread in figures.items()}, rows_of_step=ROWS)
    ours = figures["ours"].median
    share = statistics.median(shares["ours"])
    limit = f"{share:.0%} of the measured peak, as the step reports it, its validation and checkpoints included"
    rest = "see the table of what takes the time, and loading and writing models, validation"
    for way, target, against, notes in (
        ("tutorial", 12, "padded to 128 tokens, fp32, AdamW as it was", "Most of it is not padding to 128 tokens."),
        ("plain", 2.5, "the Trainer with dynamic padding in fp32, as it comes", "Same batch size. This one is ours."),
    ):
        theirs = figures[way].median
        measure.record(
            f"training_minilm_step_vs_{way}",
            ours / theirs,
            target,
            ours,
            theirs,
            "rows/s",
            script=SCRIPT,
            against=f"{against}, validation and checkpoint after the epoch",
            limit=limit,
            rest=rest,
            notes=f"{notes} Ours freezes the embeddings, as its default is, the others train everything. "
            f"The target was set on a CPU that multiplies in bf16; this one trains in {hardware_precision()}.",
        )


def ablation(rounds: int) -> None:
    """Measure what each change is worth on MiniLM's loop."""
    ways: dict[str, Callable[[list[dict[str, Any]], Path], Any]] = {
        "Trainer, dynamic padding, random order": lambda rows, at: their_trainer("plain", "minilm", rows, at),
        "+ batches of similar length": lambda rows, at: our_trainer("minilm", rows, at, freeze=False, lean=False),
        "+ embeddings frozen": lambda rows, at: our_trainer("minilm", rows, at, lean=False),
        "+ less to compute (kernels.py)": lambda rows, at: our_trainer("minilm", rows, at),
    }
    rates = {name: loop_rate(make, "minilm", ABLATION_ROWS) for name, make in ways.items()}
    figures = measure.interleaved(rates, rounds, warm_up=0)
    first = next(iter(figures.values())).median
    rows = [[name, f"{spread.median:.1f}", f"{spread.median / first:.2f}"] for name, spread in figures.items()]
    table = {
        "title": "What each change is worth, MiniLM",
        "columns": ["training loop", "rows/s", "ratio"],
        "rows": rows,
    }
    shares = {}
    for model in ("minilm", "albert"):
        with tempfile.TemporaryDirectory() as directory:
            rows_of_loop = sample(model, 10 * WARM_UP_ROWS)
            shares[model] = breakdown.of_training(our_trainer(model, rows_of_loop, Path(directory)).train)
    where = breakdown.table("What takes the time of our training loop", shares)
    measure.save(SCRIPT, tables=[table, where], ablation={name: spread.dict() for name, spread in figures.items()})


def main() -> None:
    """Run the parts, all of them or some."""
    parts = {"albert": albert, "minilm": minilm, "ablation": ablation}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(parts)}")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    measure.save(SCRIPT, machine=measure.pin(2), data=work.dataset_name(), title="Training")
    for name in options.parts or parts:
        parts[name](options.rounds)


if __name__ == "__main__":
    main()
