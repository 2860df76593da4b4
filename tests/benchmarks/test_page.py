"""The page that is written from the results."""

from pathlib import Path

import measure
import page
import pytest


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(page, "DOCS", tmp_path / "docs")
    return tmp_path / "docs"


def test_everything_that_scripts_say_is_on_the_page(docs: Path) -> None:
    measure.record("fast_one", 2.5, 3, 25.0, 10.0, "rows/s", script="growth", against="the old way", rest="the rest")
    measure.record("other_one", 1234.5, 3, 5.0, 1.0, "MB", script="scoring", limit="half of it")
    machine = {"cpu": "a CPU", "cpu_flags": ["avx2"], "threads": 2, "versions": {"torch": "1"}}
    measure.save("growth", title="Growth", notes=["Linear."], machine=machine, data="sample")
    measure.save("growth", tables=[{"title": "Sizes", "columns": ["rows", "s"], "rows": [["1,000", "2.5"]]}])
    points = [[1, 2], [10, 20]]
    measure.save("growth", plots=[{"name": "rows", "x": ["rows"], "panels": {"s": {"prepare": points}}, "log": True}])
    page.main()
    text = (docs / "performance.md").read_text()
    assert "1 of the 2 targets that were measured are met" in text
    assert "Not measured here yet: training, quality, export, predict, overhead." in text
    assert "| fast one | 2.5 | 3 | **missed** | 25 rows/s | 10 rows/s | the old way |" in text
    assert "- fast one: what takes the rest: the rest." in text
    assert "| other one | 1,234 | 3 | met |" in text
    assert "- other one: limit: half of it." in text
    assert "2 threads, a CPU (avx2); torch 1. Data: sample." in text
    assert "Linear." in text
    assert "| rows | s |\n| ---: | ---: |\n| 1,000 | 2.5 |" in text
    assert text.index("## Scoring") < text.index("## Growth")
    for name in ("rows", "overview"):
        assert f"(assets/performance/{name}.svg)" in text
        assert (docs / "assets/performance" / f"{name}.svg").read_text().startswith("<svg")


def test_a_page_without_results_is_written_too(docs: Path) -> None:
    docs.mkdir()
    page.main()
    assert (docs / "performance.md").read_text().startswith("# Performance")
