"""Measuring side by side, and what is kept of it."""

import json
from pathlib import Path

import measure
import pytest


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_work_is_run_in_turns_and_warm_up_is_thrown_away() -> None:
    calls: list[str] = []

    def ours() -> float:
        calls.append("ours")
        return float(len(calls))

    figures = measure.interleaved({"ours": ours, "theirs": lambda: calls.append("theirs")}, rounds=3, warm_up=1)
    assert calls == ["ours", "theirs"] * 4
    assert figures["ours"].dict() == {"min": 3.0, "median": 5.0, "max": 7.0, "values": [3.0, 5.0, 7.0]}
    assert all(0 <= seconds < 1 for seconds in figures["theirs"].values)


def test_rows_and_figures_are_merged(results: Path) -> None:
    measure.record("first", 2.0, 3, 20.0, 10.0, "rows/s", script="one", against="the old way", limit="half of it")
    measure.record("second", 4.0, 3, 40.0, 10.0, "rows/s", script="one")
    measure.record("second", 3.0, 3, 30.0, 10.0, "rows/s", script="one")
    measure.save("one", machine={"threads": 2}, figures={"a": [1]})
    measure.save("one", figures={"b": [2]})
    ratios = json.loads((results / "ratios.json").read_text())
    assert ratios["first"] == {"ratio": 2.0, "target": 3, "a": 20.0, "b": 10.0, "unit": "rows/s"}
    assert ratios["second"]["ratio"] == 3.0
    one = measure.load("one.json")
    assert (one["machine"], one["figures"]) == ({"threads": 2}, {"a": [1], "b": [2]})
    assert one["rows"]["first"]["against"] == "the old way"
    assert sorted(path.name for path in results.iterdir()) == ["one.json", "ratios.json"]
    lines = measure.table(ratios).splitlines()
    assert [line.split()[-1] for line in lines] == ["missed", "met"]


def test_a_child_tells_by_its_last_line_and_a_failing_one_why() -> None:
    assert measure.child("-c", "import os; print('x'); print('{\"x\": %s}' % os.environ['N'])", N="3") == {"x": 3}
    with pytest.raises(RuntimeError, match="no such thing"):
        measure.child("-c", "raise SystemExit('no such thing')")
