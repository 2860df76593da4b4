"""Choosing among candidates."""

from pathlib import Path

import pytest
from support import artifact, read

from kfp_textclf.components.common.artifacts import verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.select.stage import select_best
from kfp_textclf.components.select.sweep_report import importance


@pytest.fixture
def candidates(tmp_path: Path):
    """Write candidates; a metric that is a text is the error of a failed one."""
    import json

    def write(*metrics: float | str, state: str = "trained") -> list[str]:
        paths = []
        for number, metric in enumerate(metrics):
            good = not isinstance(metric, str)
            record = {
                "name": f"c{number}",
                "parameters": {"epochs": number, "batch_size": 8},
                "state": state if good else "failed",
                "metric": metric if good else 0.0,
                "seconds": 1.0,
                "error": "" if good else metric,
            }
            files = {
                "candidate.json": json.dumps(record),
                **({"model.safetensors": f"weights {number}"} if good else {}),
            }
            paths.append(str(artifact(tmp_path / f"c{number}", files)))
        return paths

    return write


def test_best_one_wins_and_equals_keep_their_order(candidates, tmp_path: Path) -> None:
    selection = select_best(candidates(0.5, 0.9, 0.9, 0.7), str(tmp_path / "out"), keep=3, metric="accuracy")
    assert selection.winner == "c1"
    assert [c["name"] for c in selection.survivors] == ["c1", "c2", "c3"]
    assert selection.survivors[0] == {"name": "c1", "epochs": 1, "batch_size": 8}
    assert (verified(tmp_path / "out") / "model.safetensors").read_text() == "weights 1"


def test_of_loss_less_is_better(candidates, tmp_path: Path) -> None:
    assert select_best(candidates(0.5, 0.9, 0.2), str(tmp_path / "out"), keep=1, metric="loss").winner == "c2"


def test_failed_candidates_are_named_and_left_out(candidates, tmp_path: Path) -> None:
    selection = select_best(candidates("out of memory", 0.1), str(tmp_path / "out"), keep=2, metric="accuracy")
    assert [c["name"] for c in selection.survivors] == ["c1"]
    assert "1 of 2 candidates failed: c0" in selection.report_html
    assert "out of memory" in selection.report_html
    assert selection.metrics()["failed"] == 1
    assert [c["name"] for c in read(tmp_path / "out" / "sweep.json")["ranking"]] == ["c1", "c0"]


def test_all_failed(candidates, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="all 2 candidates of the sweep failed; the first one: c0: diverged"):
        select_best(candidates("diverged", "x"), str(tmp_path / "out"), keep=2, metric="accuracy")
    assert not (tmp_path / "out").exists()


def test_default_survives_whatever_its_rank(candidates, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    assert [
        c["name"] for c in select_best(candidates(0.1, 0.2, 0.3), out, keep=1, metric="a", always="c0").survivors
    ] == [
        "c2",
        "c0",
    ]


def test_without_screening_everybody_survives(candidates, tmp_path: Path) -> None:
    paths = candidates(0.0, 0.0, 0.0, state="untried")
    assert len(select_best(paths, str(tmp_path / "out"), keep=1, metric="accuracy").survivors) == 3


def test_hostile_names_are_escaped(candidates, tmp_path: Path) -> None:
    html = select_best(
        candidates("<script>alert(1)</script>", 0.5), str(tmp_path / "o"), keep=1, metric="a"
    ).report_html
    assert "<script>alert" not in html


def test_importance_is_the_correlation_ratio() -> None:
    ranking = [
        {"state": "trained", "metric": metric, "parameters": {"a": a, "b": b, "same": 1}}
        for metric, a, b in ((1.0, 1, 1), (1.0, 1, 2), (0.0, 2, 1), (0.0, 2, 2))
    ]
    assert importance(ranking) == {"a": 1.0, "b": 0.0}
