"""Fine-tuning the tiny model: reproducible, judged on validation rows, safetensors alone."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from stage_inputs import remains, rewritten

from kfp_textclf.components.common.artifacts import read_json, sha256_of, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.hardware import available_cpus
from kfp_textclf.components.train import fine_tuning
from kfp_textclf.components.train.batching import NO_LABEL
from kfp_textclf.components.train.fine_tuning import class_weights
from kfp_textclf.components.train.settings import TrainSettings
from kfp_textclf.components.train.stage import TrainedModel, train


@pytest.fixture
def retrain(trained: SimpleNamespace, prepared: Path, tiny_model: Path, tmp_path: Path):
    """Train again with some settings changed."""

    def call(name: str = "model", dataset: Path = prepared, prices: dict | None = None, **changes) -> TrainedModel:
        arguments = {"base_model": tiny_model.as_uri(), "settings": replace(trained.settings, **changes)}
        return train(str(dataset), str(tmp_path / name), **arguments, prices=prices)

    return call


def weights(directory: Path) -> str:
    return sha256_of(directory / "model.safetensors")


def test_tiny_model_learns(trained: SimpleNamespace) -> None:
    assert trained.result.validation["matthews_correlation"] > 0.9


def test_artifact_is_whole_and_holds_no_pickle(trained: SimpleNamespace) -> None:
    names = set(remains(verified(trained.directory)))
    assert {"model.safetensors", "config.json", "tokenizer.json", "training.json", "manifest.json"} <= names
    assert {Path(name).suffix for name in names} <= {".safetensors", ".json", ".txt"}


def test_config_names_the_labels(trained: SimpleNamespace) -> None:
    config = read_json(trained.directory / "config.json")
    assert config["id2label"] == {"0": "fare", "1": "flight", "2": "meal"}


def test_record_says_how_it_was_trained(trained: SimpleNamespace, tiny_model: Path) -> None:
    record = read_json(trained.directory / "training.json")
    assert record["base_model"] == tiny_model.as_uri()
    assert record["settings"]["learning_rate"] == 3e-3
    assert record["seed"] == trained.settings.seed
    assert record["precision"] == "fp32"
    assert record["tokens_per_second"] > 0
    assert [entry for entry in record["log"] if "loss" in entry]
    json.dumps(trained.result.metadata(), allow_nan=False)


def test_record_says_what_the_result_depends_on_besides_its_inputs(trained: SimpleNamespace) -> None:
    import transformers

    environment = read_json(trained.directory / "training.json")["environment"]
    assert environment["threads"] == torch.get_num_threads() == available_cpus()
    assert environment["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert (environment["torch"], environment["transformers"]) == (torch.__version__, transformers.__version__)
    assert len(environment["gpus"]) == torch.cuda.device_count()
    assert trained.result.resumed_from_steps == []


def test_tokens_seconds_and_cost_are_figures_of_the_run(retrain, prepared: Path) -> None:
    result = retrain(epochs=2, prices={"cpu_core_hour": 3600, "watts_per_core": 3600})
    ids = pq.read_table(prepared / "train.parquet").to_pydict()["input_ids"]
    figures = result.metrics()
    assert figures["tokens"] == 2 * sum(map(len, ids))
    assert figures["tokens_per_second"] == pytest.approx(figures["tokens"] / figures["seconds"])
    assert figures["cpu_count"] == available_cpus()
    if not figures["gpu_count"]:
        assert figures["cost"] == figures["energy_wh"] == pytest.approx(figures["seconds"] * available_cpus())
        assert f"{figures['tokens']:,.0f}" in result.report_html


def test_best_epoch_by_validation_is_kept(trained: SimpleNamespace) -> None:
    log = read_json(trained.directory / "training.json")["log"]
    by_epoch = {e["epoch"]: e["eval_matthews_correlation"] for e in log if "eval_matthews_correlation" in e}
    assert trained.result.best_metric == max(by_epoch.values()) == by_epoch[trained.result.best_epoch]


def test_kept_weights_are_those_of_the_best_epoch(retrain, tmp_path: Path, prepared: Path) -> None:
    """Scored again, the artifact is as good as the training said of its best epoch."""
    from kfp_textclf.components.export.torch_export import TorchClassifier

    result = retrain(epochs=4, metric_for_best_model="accuracy", early_stopping_patience=0, seed=2)
    classifier = TorchClassifier(tmp_path / "model")
    rows = pq.read_table(prepared / "validation.parquet").to_pydict()
    predicted = [classifier.labels[i] for i in classifier.probabilities(rows["text"]).argmax(axis=1)]
    accuracy = sum(map(str.__eq__, predicted, rows["label"])) / len(predicted)
    assert accuracy == pytest.approx(result.best_metric)
    assert result.validation["accuracy"] == result.best_metric


def test_same_seed_gives_the_same_weights_and_another_seed_others(
    retrain, trained: SimpleNamespace, tmp_path: Path
) -> None:
    retrain("again", epochs=2, seed=5)
    retrain("same", epochs=2, seed=5)
    retrain("other", epochs=2, seed=6)
    assert weights(tmp_path / "again") == weights(tmp_path / "same")
    assert weights(tmp_path / "again") != weights(tmp_path / "other")


def test_test_split_is_never_read(retrain, prepared: Path, tmp_path: Path) -> None:
    without = rewritten(prepared, tmp_path / "without-test", {"test.parquet": None})
    retrain("full", epochs=1)
    retrain("blind", dataset=without, epochs=1)
    assert weights(tmp_path / "full") == weights(tmp_path / "blind")


def test_epochs_are_judged_on_the_validation_rows(retrain, prepared: Path, tmp_path: Path) -> None:
    """With wrong labels there and right ones in train, only a model judged on train could look good."""
    table = pq.read_table(prepared / "validation.parquet").to_pydict()
    table["label"] = [{"fare": "meal", "meal": "flight", "flight": "fare"}[label] for label in table["label"]]
    pq.write_table(pa.table(table), tmp_path / "wrong.parquet")
    wrong = {"validation.parquet": (tmp_path / "wrong.parquet").read_bytes()}
    result = retrain(dataset=rewritten(prepared, tmp_path / "wrong", wrong), early_stopping_patience=0)
    assert result.validation["accuracy"] < 0.7
    assert read_json(tmp_path / "model" / "training.json")["log"][-2]["eval_accuracy"] < 0.3


def test_early_stopping_ends_a_training_that_no_longer_improves(retrain) -> None:
    stopped = retrain(epochs=12, learning_rate=1e-9, early_stopping_patience=1)
    assert stopped.epochs <= 3
    assert retrain(epochs=4, learning_rate=1e-9, early_stopping_patience=0).epochs == 4


def test_frozen_embeddings_stay_as_they_were(retrain, tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    name = "embeddings.word_embeddings.weight"
    before = load_file(tiny_model / "model.safetensors")[name]
    for frozen in (True, False):
        retrain(epochs=1, freeze_embeddings=frozen)
        after = load_file(tmp_path / "model" / "model.safetensors")[f"bert.{name}"]
        assert (after == before).all() == frozen


@pytest.fixture
def uneven(prepared: Path, tmp_path: Path) -> Path:
    """The prepared data set with a fifth of the training rows of one class."""
    table = pq.read_table(prepared / "train.parquet")
    kept = [row for row, label in enumerate(table["label"].to_pylist()) if label != "meal" or row % 5 == 0]
    pq.write_table(table.take(kept), tmp_path / "uneven.parquet")
    return rewritten(prepared, tmp_path / "uneven", {"train.parquet": (tmp_path / "uneven.parquet").read_bytes()})


def test_class_weights_change_the_training(retrain, uneven: Path, tmp_path: Path) -> None:
    schemes = ("none", "sqrt", "balanced")
    for scheme in schemes:
        retrain(scheme, dataset=uneven, epochs=1, class_weights=scheme)
    assert len({weights(tmp_path / scheme) for scheme in schemes}) == 3


def test_class_weights_hold_in_batches_of_one_row(retrain, uneven: Path, tmp_path: Path) -> None:
    for scheme in ("none", "balanced"):
        retrain(scheme, dataset=uneven, epochs=1, batch_size=1, class_weights=scheme)
    assert weights(tmp_path / "none") != weights(tmp_path / "balanced")


@pytest.mark.parametrize("labels", [[0, 0], [0, 1, 1], [1, 0, NO_LABEL]], ids=str)
def test_weighted_loss_is_the_sum_over_the_rows_by_their_number(labels: list[int]) -> None:
    settings = TrainSettings(class_weights="balanced")
    loss = fine_tuning._loss(settings, [{"labels": label} for label in [0] * 9 + [1] * 3], 2)
    logits = torch.arange(2.0 * len(labels)).sqrt().view(-1, 2)
    kept = [(row, label) for row, label in enumerate(labels) if label != NO_LABEL]
    each = [(2 / 3, 2.0)[label] * -logits[row].log_softmax(0)[label].item() for row, label in kept]
    got = loss({"logits": logits}, torch.tensor(labels), torch.tensor(len(each)))
    assert got.item() == pytest.approx(sum(each) / len(each))


def test_model_that_cannot_take_the_rows_is_refused_before_the_first_step(
    retrain, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pq.read_table(prepared / "validation.parquet").to_pydict()
    table["input_ids"][-1][-1] = 400
    pq.write_table(pa.table(table), tmp_path / "ids.parquet")
    changes = {"validation.parquet": (tmp_path / "ids.parquet").read_bytes()}
    with pytest.raises(UserError, match=r"base_model .*knows 400 tokens, and its tokenizer gives the id 400"):
        retrain(dataset=rewritten(prepared, tmp_path / "ids", changes))
    assert "loss" not in capsys.readouterr().out
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("scheme", ["none", "sqrt", "balanced"])
def test_mean_weight_over_the_rows_is_one(scheme: str) -> None:
    counts = [70, 20, 9, 1]
    values = class_weights(scheme, counts)
    assert sum(w * n for w, n in zip(values, counts, strict=True)) / 100 == pytest.approx(1)
    assert values == sorted(values)


def test_balanced_classes_weigh_alike_in_sum() -> None:
    products = [
        weight * count for weight, count in zip(class_weights("balanced", [70, 20, 10]), [70, 20, 10], strict=True)
    ]
    assert products == pytest.approx([products[0]] * 3)


def test_class_without_rows_has_a_finite_weight() -> None:
    assert class_weights("balanced", [5, 0])[1] < float("inf")


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_diverged_training_is_a_user_error_and_leaves_nothing(retrain, tmp_path: Path, rate: float) -> None:
    with pytest.raises(
        UserError, match=r"training diverged: (eval_)?loss is (nan|inf) at step \d+; lower learning_rate"
    ):
        retrain(epochs=3, learning_rate=rate, warmup_ratio=0.0)
    assert remains(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.safetensors": None}, "cannot be loaded as a classifier from safetensors"),
        (
            {"model.safetensors": None, "pytorch_model.bin": b"pickle"},
            "cannot be loaded as a classifier from safetensors",
        ),
        ({"model.safetensors": b"broken"}, "cannot be loaded as a classifier from safetensors"),
        ({"config.json": '{"model_type": "no-such-model"}'}, "cannot be loaded as a classifier"),
        ({"config.json": "{"}, "config"),
        ({"config.json": '{"model_type": "bert", "hidden_size": "wide"}'}, "cannot be loaded as a classifier"),
    ],
    ids=["no weights", "pickle alone", "broken weights", "unknown architecture", "broken config", "impossible config"],
)
def test_unusable_base_model_is_a_user_error(
    trained: SimpleNamespace, prepared: Path, tiny_model: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    broken = rewritten(tiny_model, tmp_path / "base", changes)
    with pytest.raises(UserError, match=message):
        train(str(prepared), str(tmp_path / "model"), base_model=broken.as_uri(), settings=trained.settings)
    assert not (tmp_path / "model").exists()


def test_damaged_data_set_is_refused(retrain, prepared: Path, tmp_path: Path) -> None:
    copy = rewritten(prepared, tmp_path / "copy", {})
    (copy / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"train\.parquet: differs from its manifest"):
        retrain(dataset=copy)


def test_progress_is_told_as_it_goes(retrain, capsys: pytest.CaptureFixture[str]) -> None:
    from kfp_textclf.components.common.progress import parse_progress

    retrain(epochs=1)
    lines = [progress for line in capsys.readouterr().out.splitlines() if (progress := parse_progress(line))]
    assert lines[-1]["done"] == lines[-1]["total"] > 0
    assert any("loss" in line for line in lines)


def test_checkpoints_are_cleaned_up(retrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(fine_tuning.tempfile, "tempdir", str(tmp_path / "scratch"))
    retrain(epochs=1)
    assert remains(tmp_path / "scratch") == []


def test_best_epoch_by_the_f1_of_one_class(retrain, tmp_path: Path) -> None:
    result = retrain(epochs=3, metric_for_best_model="f1/fare", early_stopping_patience=0, seed=3)
    log = read_json(tmp_path / "model" / "training.json")["log"]
    by_epoch = {entry["epoch"]: entry["eval_f1/fare"] for entry in log if "eval_f1/fare" in entry}
    assert len(by_epoch) == 3
    assert result.best_metric == result.validation["f1/fare"] == max(by_epoch.values())


def test_f1_of_a_label_without_validation_rows_is_refused(retrain) -> None:
    with pytest.raises(UserError, match=r"f1/refund.*no validation row has that label; there are fare, flight, meal"):
        retrain(metric_for_best_model="f1/refund")
