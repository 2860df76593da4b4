"""Comparing runs: real ones through the command line, and made-up ones for what real ones seldom do."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import read

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.compare import compare_runs, load_run
from kfp_textclf.pipelines.comparison_report import in_html, in_text, letter
from kfp_textclf.pipelines.runs import Predictions, local_run

LABELS = ("flight", "fare", "meal")


def write_run(
    directory: Path, answers: Sequence[tuple[str, str, str]] | None = (), accuracy: float = 0.9, **arguments: object
) -> Path:
    """Write what a run leaves: its metrics, and the answers (text_hash, actual, predicted) to the held-out rows."""
    directory.mkdir(parents=True)
    variants = {name: {"accuracy": accuracy, "size_bytes": 10} for name in ("torch", "onnx", "onnx_int8")}
    dataset = {
        "name": "d",
        "git_rev": "a" * 40,
        "files": {"train.csv": {"md5": "b" * 32}},
        "rows": {"test": 3},
        "classes": 3,
    }
    content = {"variants": variants, "dataset": dataset, "arguments": {"epochs": 4, "champion_uri": "x", **arguments}}
    (directory / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    if answers is not None:
        with (directory / "predictions.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("text_hash", "actual", "predicted", "probability"))
            writer.writerows((*row, "0.5") for row in answers)
    return directory


def answers(seed: int, rows: int, errors: float, first: int = 0) -> list[tuple[str, str, str]]:
    """Return answers to rows whose texts and true labels do not depend on the seed."""
    generator = np.random.default_rng(seed)
    actual = [LABELS[row % 3] for row in range(first, first + rows)]
    wrong = generator.random(rows) < errors
    return [
        (f"{first + row:016x}", label, LABELS[(LABELS.index(label) + 1) % 3] if wrong[row] else label)
        for row, label in enumerate(actual)
    ]


def comparison(tmp_path: Path, *runs: Sequence[tuple[str, str, str]] | None) -> dict:
    directories = [write_run(tmp_path / f"run{i}", run) for i, run in enumerate(runs)]
    return compare_runs([local_run(directory, directory.name, "local") for directory in directories])


def test_each_run_is_shown_by_the_variant_that_was_judged(tmp_path: Path):
    first, second = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    content = read(second / "metrics.json")
    content["variants"]["onnx_int4"] = {"accuracy": 0.8, "size_bytes": 5}
    (second / "metrics.json").write_text(json.dumps({**content, "shipped": "onnx_int4"}))
    found = compare_runs([local_run(directory, directory.name, "local") for directory in (first, second)])
    lines = [re.split(r"  +", line) for line in in_text(found).splitlines()]
    assert ["variant", "ONNX int8", "ONNX int4"] in lines
    assert ["accuracy", "0.9000", "0.8000 (-0.1000)"] in lines
    assert not [line for line in lines if line[0].startswith(("torch", "onnx"))]


def test_seeds_do_not_differ_and_a_crippled_model_does(project: SimpleNamespace):
    """What the command is for, on three real runs."""
    crippled = ["--set", "train.epochs=1", "--set", "train.learning_rate=1e-6", "--set", "evaluate.floor=-1"]
    names = []
    for settings in (["--set", "seed=13"], ["--set", "seed=14"], ["--set", "seed=13", *crippled]):
        done = project.run("run", *settings)
        assert done.code == 0, done.err
        names.append((project.runs / "latest").resolve().name)
    done = project.run("compare", *names, "--html", "comparison.html")
    assert done.code == 0, done.err
    seeds, worse = [line for line in done.out.splitlines() if "against A" in line]
    assert "on 54 common held-out rows: no significant difference" in seeds
    assert "on 54 common held-out rows: significantly worse" in worse
    html = (project.root / "comparison.html").read_text(encoding="utf-8")
    assert "C against A: significantly worse" in html
    assert "learning_rate" in html

    content = json.loads(project.run("compare", names[2], str(project.runs / names[0]), "--json").out)
    assert content["significance"][0]["verdict"] == "significantly better"
    assert content["parameters"] == {"epochs": [1, 25], "learning_rate": [1e-6, 0.002], "floor": [-1.0, 0.5]}
    assert content["data"] == {}
    assert content["metrics"]["onnx_int8.matthews_correlation"][1] > 0.9
    assert {run["rows_predicted"] for run in content["runs"]} == {54}
    assert project.run("compare", "latest", "latest").code == 0


def test_only_common_rows_are_tested(tmp_path: Path) -> None:
    found = comparison(tmp_path, answers(1, 300, 0.05), answers(2, 300, 0.5, first=100))["significance"][0]
    assert (found["common_rows"], found["rows"]) == (200, 200)
    assert found["verdict"] == "significantly worse"


def test_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    first, second = answers(1, 200, 0.1), answers(2, 200, 0.2)
    there = comparison(tmp_path / "a", first, second)["significance"]
    back = comparison(tmp_path / "b", first[::-1], second)["significance"]
    assert there == back


def test_relabelled_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    first = answers(1, 100, 0.1)
    second = [
        (key, "other", answer) if row < 30 else (key, actual, answer) for row, (key, actual, answer) in enumerate(first)
    ]
    content = comparison(tmp_path, first, second)
    found = content["significance"][0]
    assert (found["common_rows"], found["relabelled_rows"]) == (70, 30)
    assert "on 70 common held-out rows (30 more were relabelled)" in in_text(content)


def test_repeated_texts_are_paired_in_order(tmp_path: Path) -> None:
    rows = [("0" * 16, "flight", "flight"), ("0" * 16, "flight", "fare"), ("1" * 16, "fare", "fare")]
    found = comparison(tmp_path, rows, rows[:1] + rows[2:])["significance"][0]
    assert (found["common_rows"], found["only_first_right"], found["only_second_right"]) == (2, 0, 0)


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        (None, answers(1, 9, 0.1), "run0: no predictions.csv"),
        (answers(1, 9, 0.1), None, "run1: no predictions.csv"),
        (answers(1, 9, 0.1), answers(1, 9, 0.1, first=50), "they have no held-out rows in common"),
    ],
)
def test_runs_that_cannot_be_paired_are_compared_by_their_metrics(tmp_path: Path, first, second, note: str) -> None:
    content = comparison(tmp_path, first, second)
    found = content["significance"][0]
    assert (found["verdict"], found["common_rows"]) == ("not tested", 0)
    assert note in found["note"]
    assert content["metrics"]["onnx_int8.accuracy"] == [0.9, 0.9]
    assert f"B against A: not tested, {note}" in in_text(content)
    assert "not tested" in in_html(content)


def test_p_values_of_several_runs_are_adjusted(tmp_path: Path) -> None:
    """Nineteen runs that differ by chance alone, and the one that is worse is still found."""
    base = answers(0, 400, 0.1)
    runs = [base, *(answers(seed, 400, 0.1) for seed in range(1, 20)), answers(99, 400, 0.5)]
    *chance, worse = comparison(tmp_path, *runs)["significance"]
    assert worse["verdict"] == "significantly worse"
    assert {entry["verdict"] for entry in chance} == {"no significant difference"}
    for entry in (*chance, worse):
        for metric in entry["metrics"].values():
            assert metric["p_adjusted"] >= metric["p_value"]
    alone = comparison(tmp_path / "alone", base, runs[-1])["significance"][0]["metrics"]["accuracy"]
    assert alone["p_adjusted"] == alone["p_value"]


def test_parameters_and_data_that_differ_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", answers(1, 9, 0.1), learning_rate=3e-5, column_order=["label", "text"])
    b = write_run(tmp_path / "b", answers(1, 9, 0.1), learning_rate=0.00012345, column_order=["label", "text"])
    content = json.loads((b / "metrics.json").read_text())
    content["dataset"]["files"]["train.csv"]["md5"] = "c" * 32
    (b / "metrics.json").write_text(json.dumps(content))
    found = compare_runs([load_run("a", tmp_path), load_run("b", tmp_path)])
    assert found["parameters"] == {"learning_rate": [3e-5, 0.00012345]}
    assert found["data"] == {"md5 of train.csv": ["b" * 32, "c" * 32]}
    text = in_text(found)
    assert "3e-05" in text
    assert "0.00012345" in text
    assert "bbbbbbbbbbbb  cccccccccccc" in text


def test_parameters_of_a_sweep_are_those_of_its_winner(tmp_path: Path) -> None:
    write_run(tmp_path / "a", answers(1, 9, 0.1), learning_rate=3e-5)
    b = write_run(tmp_path / "b", answers(1, 9, 0.1))
    content = json.loads((b / "metrics.json").read_text())
    content["sweep"] = {"ranking": [{"parameters": {"learning_rate": 1e-4}}, {"parameters": {"learning_rate": 1e9}}]}
    (b / "metrics.json").write_text(json.dumps(content))
    found = compare_runs([load_run("a", tmp_path), load_run("b", tmp_path)])
    assert found["parameters"]["learning_rate"] == [3e-5, 1e-4]


def test_names_of_runs_are_no_markup(tmp_path: Path) -> None:
    write_run(tmp_path / "<script>x", answers(1, 9, 0.1))
    run = load_run("<script>x", tmp_path)
    assert "<script>" not in in_html(compare_runs([run, run]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "'nonsense': there is no such run; name a run below runs/"),
        ("", "'': there is no such run"),
        ("kfp:123", "123/metrics.json is not here; follow the run to its end with `kfp-textclf submit`"),
        ("kfp:../good", "is not here"),
        ("broken", "is not valid JSON"),
        ("other", "is not the metrics.json of a run"),
        ("list", "is not the metrics.json of a run"),
        ("cut", "is not the predictions.csv of an evaluation"),
        ("columns", "is not the predictions.csv of an evaluation"),
        ("binary", "predictions.csv: cannot be read"),
        ("unfinished", "this run has not ended well"),
    ],
)
def test_unusable_run_is_refused_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    runs = tmp_path / "runs"
    good = write_run(runs / "good", answers(1, 9, 0.1))
    for bad in ("broken", "other", "list", "cut", "columns", "binary"):
        shutil.copytree(good, runs / bad)
    (runs / "broken" / "metrics.json").write_text("{")
    (runs / "other" / "metrics.json").write_text('{"rows": 3}')
    (runs / "list" / "metrics.json").write_text("[]")
    (runs / "cut" / "predictions.csv").write_text("text_hash,actual,predicted\n00")
    (runs / "columns" / "predictions.csv").write_text("a,b\n1,2\n")
    (runs / "binary" / "predictions.csv").write_bytes(b"\xff\xfe\0")
    (runs / "unfinished").mkdir()
    (runs / "unfinished" / "pipeline.yaml").touch()
    done = call(tmp_path, "compare", "good", name)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_one_run_alone_or_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "good", answers(1, 9, 0.1))
    assert "needs at least two runs" in call(tmp_path, "compare", "good").stderr
    done = call(tmp_path, "compare", "good", "good", "--html", "no/such/place.html")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no/such/place.html: cannot be written" in done.stderr


def test_run_fetched_from_a_cluster_is_found(tmp_path: Path) -> None:
    write_run(tmp_path / "1234", answers(1, 9, 0.1))
    assert load_run("kfp:1234", tmp_path).source == "kfp"


def test_predictions_of_an_earlier_version_are_not_used() -> None:
    assert Predictions.parse("actual,predicted,probability\na,a,0.9\n", "p") is None
    with pytest.raises(UserError, match="p: is not the predictions"):
        Predictions.parse("", "p")


def test_letters_never_run_out() -> None:
    assert [letter(number) for number in (0, 25, 26, 52)] == ["A", "Z", "A1", "A2"]


def test_offline_run_of_wandb_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    pin = {"git_rev": "a" * 40, "files": [{"path": "train.csv", "md5": "b" * 32, "size": 1}]}
    config = {"train": {"epochs": 3}, "seed": 13, "dataset_pin": pin, "note": "x" * 100_000}
    run = wandb.init(project="p", config=config, dir=tmp_path)
    for step in range(50):
        run.log({"loss": 1 / (step + 1)})
    run.summary["onnx_int8.accuracy"] = 0.8
    run.finish()
    wandb.teardown()  # the log is only complete when W&B's service process has ended
    (directory,) = (tmp_path / "wandb").glob("offline-run-*")
    found = load_run(str(directory), tmp_path)
    assert found.source == "wandb"
    assert found.metrics["onnx_int8.accuracy"] == 0.8
    assert found.metrics["loss"] == pytest.approx(0.02)
    assert (found.params["epochs"], found.params["seed"]) == (3, 13)
    assert found.dataset == {"git_rev": "a" * 40, "md5": {"train.csv": "b" * 32}}

    log = next(directory.glob("*.wandb"))
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "run-1.wandb").write_bytes(log.read_bytes()[:-40])
    assert load_run("killed", tmp_path).params["epochs"] == 3, "a log that was cut off is read as far as it goes"
    write_run(tmp_path / "local", answers(1, 9, 0.1), epochs=4)
    content = compare_runs([load_run("local", tmp_path), found])
    assert content["parameters"] == {"epochs": [4, 3]}
    assert content["significance"][0]["verdict"] == "not tested"
    log.write_bytes(b"no log")
    with pytest.raises(UserError, match="is not a log of W&B"):
        load_run(str(directory), tmp_path)


def call(directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments]
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(directory.parent)}
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment, check=False)
