"""What a pull request goes through: ci.yml, run step by step outside GitHub.

Replaced, by stubs on PATH that record: ``make lint typecheck manifests test images``, which the gate runs itself.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from actions import Runner, Trigger, pull_request
from github_stand_in import GitHub
from support import md5, run_git, tiny_rows, write_csv

EVENT = {"pull_request": {"number": 7, "head": {"repo": {"full_name": "acme/texts"}}}}


def open_pull_request(runner: Runner) -> Trigger:
    return Trigger("pull_request", pull_request(runner.origin, "A change"), EVENT)


def pin(origin: Path, store: Path, rows: list) -> None:
    """Pin a new version of the data set `mine`, and push it to the DVC remote."""
    content = write_csv(store / "new.csv", rows).read_bytes()
    digest = md5(content)
    (store / "files/md5" / digest[:2]).mkdir(parents=True, exist_ok=True)
    shutil.move(store / "new.csv", store / "files/md5" / digest[:2] / digest[2:])
    (origin / "data/mine").mkdir(exist_ok=True)
    out = {"md5": digest, "size": len(content), "hash": "md5", "path": "train.csv"}
    (origin / "data/mine/train.csv.dvc").write_text(yaml.safe_dump({"outs": [out]}))


@pytest.fixture
def pinned(origin: Path, tmp_path: Path) -> Path:
    """Let the project have a pinned data set; return the directory of its remote."""
    store = tmp_path / "store"
    params = yaml.safe_load((origin / "params.yaml").read_text())
    params["datasets"] = {"mine": {"train": "data/mine/train.csv"}, "atis": params["datasets"]["atis"]}
    (origin / "params.yaml").write_text(yaml.safe_dump(params | {"dataset": "mine"}))
    (origin / ".dvc/config").write_text(f"[core]\n    remote = here\n['remote \"here\"']\n    url = {store}\n")
    pin(origin, store, tiny_rows(["boston", "denver"]))
    run_git(origin, "add", "--all")
    run_git(origin, "commit", "-qm", "A data set of our own")
    return store


def test_a_change_of_parameters_builds_no_image_and_says_nothing(runner: Runner, api: GitHub) -> None:
    params = runner.origin / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 4", "epochs: 5"))
    jobs = runner.run("ci", open_pull_request(runner))
    results = {name: job.result for name, job in jobs.items()}
    ran = dict.fromkeys(("changes", "checks", "tests"), "success")
    assert results == {**ran, **dict.fromkeys(("images", "data", "report"), "skipped")}
    assert runner.recorded() == [
        ["make", "lint"],
        ["make", "typecheck"],
        ["make", "manifests"],
        ["make", "test", 'ARGS=-m "not docker"'],
    ]
    assert api.comments == {}


def test_a_change_of_a_stage_builds_and_tests_the_images(runner: Runner) -> None:
    stage = runner.origin / "components/train/stage.py"
    stage.write_text(stage.read_text() + "\n# changed\n")
    jobs = runner.run("ci", open_pull_request(runner))
    assert jobs["images"].result == "success"
    assert runner.recorded()[-2:] == [["make", "images"], ["make", "test", "ARGS=-m docker"]]


def test_a_moved_data_pin_is_told_in_one_comment(runner: Runner, api: GitHub, pinned: Path) -> None:
    api.comment(7, "Looks good to me")
    for city in ("dallas", "seattle"):
        pin(runner.origin, pinned, tiny_rows(["boston", city]))
        jobs = runner.run("ci", open_pull_request(runner))
        assert {job.result for name, job in jobs.items() if name != "images"} == {"success"}, jobs["data"].log
        assert jobs["images"].result == "skipped"
        (comment,) = api.posted(7)
        assert "Data set mine" in comment
        assert f"book a flight to {city}" in comment
        assert "| train | new texts |  | 9 |" in comment
        assert comment.partition("\n")[2].strip() == jobs["report"].summary.strip()
        run_git(runner.origin, "checkout", "-q", "main")
        run_git(runner.origin, "branch", "-qD", "change")
    assert api.comments[7][0]["body"] == "Looks good to me"


def test_where_the_bytes_cannot_be_had_the_pins_are_told(runner: Runner, api: GitHub, pinned: Path) -> None:
    pin(runner.origin, pinned, tiny_rows(["boston"]))
    shutil.rmtree(pinned)
    jobs = runner.run("ci", open_pull_request(runner))
    assert jobs["data"].result == "success", jobs["data"].log
    (comment,) = api.posted(7)
    assert "cannot be told from here" in comment
    now = yaml.safe_load((runner.origin / "data/mine/train.csv.dvc").read_text())["outs"][0]["md5"]
    assert now in comment


def test_a_fork_gets_its_report_in_the_summary(runner: Runner, api: GitHub, pinned: Path) -> None:
    api.read_only = True
    pin(runner.origin, pinned, tiny_rows(["boston", "dallas"]))
    jobs = runner.run("ci", open_pull_request(runner))
    assert jobs["report"].result == "success"
    assert "book a flight to dallas" in jobs["report"].summary
    assert "note: no comment: gh failed: HTTP 403: Resource not accessible by integration" in jobs["report"].log
    assert api.posted(7) == []
