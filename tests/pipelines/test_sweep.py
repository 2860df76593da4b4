"""The sweep, from parameters to a winner."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support import read

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.params import Params
from kfp_textclf.pipelines.sweep_space import candidates


def sweep(**section: object) -> Params:
    """Return parameters with a sweep section."""
    return Params.model_validate({"dataset": "x", "train": {"learning_rate": 1e-4, "epochs": 3}, "sweep": section})


def test_grid_holds_every_combination_and_the_default_first() -> None:
    found = candidates(sweep(space={"learning_rate": [1e-4, 2e-4], "epochs": [3, 5]}))
    assert [c["name"] for c in found] == [
        "default",
        "learning_rate=0.0001 epochs=5",
        "learning_rate=0.0002 epochs=3",
        "learning_rate=0.0002 epochs=5",
    ]
    assert [(c["learning_rate"], c["epochs"]) for c in found] == [(1e-4, 3), (1e-4, 5), (2e-4, 3), (2e-4, 5)]


def test_draws_are_different_seeded_and_in_range() -> None:
    section = {
        "method": "random",
        "candidates": 6,
        "space": {"learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}, "epochs": {"min": 1, "max": 9}},
    }
    first, again = candidates(sweep(**section)), candidates(sweep(**section))
    assert first == again
    assert len({c["name"] for c in first}) == 7
    assert all(1e-5 <= c["learning_rate"] <= 1e-3 and c["epochs"] in range(1, 10) for c in first)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"space": {"epohcs": [1]}}, "sweep.space.epohcs: cannot be swept"),
        ({"space": {"prices": [{}]}}, "cannot be swept"),
        ({"space": {"epochs": []}}, "needs a list"),
        ({"space": {"epochs": [0]}}, "sweep.space.epochs=0: input should be greater"),
        ({"space": {"epochs": ["many"]}}, "sweep.space.epochs='many'"),
        ({"space": {"epochs": {"min": 1, "max": 3}}}, "needs a list of values with a grid"),
        ({"candidates": 3, "space": {"epochs": [1, 2], "batch_size": [8, 16]}}, "a grid of 4 candidates"),
        ({"method": "random", "space": {"epochs": {"min": 3, "max": 1}}}, "is neither a list nor"),
        ({"method": "random", "space": {"learning_rate": {"min": 0, "max": 1, "log": True}}}, "is neither a list nor"),
    ],
)
def test_unusable_space_is_refused(section: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        candidates(sweep(**section))


def test_sweep_with_crashing_candidates_ends_with_a_winner(project: SimpleNamespace, tiny_model: Path) -> None:
    """Of six candidates one diverges and one has a base model that is not there; another base model is fine."""
    import shutil

    import yaml

    shutil.copytree(tiny_model, project.root / "other-model")
    params = yaml.safe_load((project.root / "params.yaml").read_text())
    params["train"]["epochs"] = 6
    other, absent = (project.root / "other-model").as_uri(), (project.root / "absent").as_uri()
    params["sweep"] = {
        "screening_epochs": 1,
        "keep": 2,
        "space": {"learning_rate": [0.002, 1e9], "base_model": [tiny_model.as_uri(), other, absent]},
    }
    (project.root / "params.yaml").write_text(yaml.safe_dump(params))
    done = project.run("sweep")
    assert done.code == 0, done.err[-2000:]
    metrics = read(project.runs / "latest" / "metrics.json")
    states = {c["name"]: c["state"] for c in metrics["sweep"]["ranking"]}
    assert len(states) == 6
    tried = [step["candidate"] for step in metrics["steps"] if "candidate" in step]
    assert set(tried) == set(states)
    assert all(f"train-candidate-2 {name}" in done.err for name in states)
    failed = [name for name, state in states.items() if state == "failed"]
    assert len(failed) >= 2
    assert all("1000000000" in name or "absent" in name for name in failed)
    assert f"{len(failed)} of 6 candidates failed:" in done.out
    assert "holds no config.json" in done.out
    by_name = {c["name"]: c["metric"] for c in metrics["sweep"]["ranking"] if c["state"] == "trained"}
    assert by_name[metrics["sweep"]["winner"]] >= by_name["default"]
    assert all("screening" in c for c in metrics["sweep"]["ranking"] if c["state"] != "failed")
    assert metrics["variants"]["onnx_int8"]["matthews_correlation"] > 0.5
    assert "Candidates, the best first" in (project.runs / "latest" / "report.md").read_text()
    assert "Importance of the parameters" in (project.runs / "latest" / "report.html").read_text()
