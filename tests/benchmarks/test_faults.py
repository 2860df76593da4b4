"""Schedules of faults: a sample of them; and what the harness would say about harm."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from fault_publishing import PublishTogether, Read
from fault_scenarios import Harm, Ingest, Outcome, Place, Scenario
from support import read

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.s3


def test_sample_of_schedules_does_no_harm(tmp_path: Path) -> None:
    output = tmp_path / "faults.json"
    command = [sys.executable, str(BENCHMARKS / "faults.py"), "--schedules=16", "--seed=sample", f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    results = read(output)
    outcomes = results.pop("outcomes")
    assert results == {"schedules": 16, "corrupt_accepted": 0, "half_published": 0, "champions_lost": 0, "unclear": 0}
    clients = [count for faults in outcomes.values() for ends in faults.values() for count in ends.values()]
    assert sum(clients) == 18  # two publishers in two schedules
    assert sum(sum(faults.get("none", {}).values()) for faults in outcomes.values()) < 9


@pytest.fixture
def place(s3_server, s3_uri: str, tmp_path: Path) -> Place:
    return Place(s3_uri, tmp_path, "a seed", s3_server.endpoint)


@pytest.fixture
def published(place: Place, s3_server) -> PublishTogether:
    """A store with two champions, and two publishers of which one has published."""
    scenario = PublishTogether(place, s3_server)
    scenario.prepare()
    scenario.act(place, 0)
    return scenario


def found(scenario: Scenario, *outcomes: Outcome) -> dict[str, int]:
    """Return how much harm of each kind is seen, none left out."""
    harm = Harm()
    scenario.judge(list(outcomes), harm)
    return {kind: len(lines) for kind, lines in asdict(harm).items() if lines}


def won(version: str) -> Outcome:
    return Outcome("right", {"version": version})


LOST = Outcome("error", "s3://x: the champion is now another")


def test_right_results_are_no_harm(published: PublishTogether) -> None:
    assert found(published, won(published.publishers[0]), LOST) == {}
    assert found(published, Outcome("killed"), LOST) == {}


def test_damage_on_the_server_is_seen(published: PublishTogether) -> None:
    from kfp_textclf.components.common.object_store import open_store

    store, new = open_store(published.place.uri), published.publishers[0]
    stored = store.read("champion.json")
    assert stored is not None
    record = json.loads(stored.content)

    def as_champion(**changes: object) -> Callable[[], object]:
        return lambda: store.write("champion.json", json.dumps({**record, **changes}).encode())

    damages: list[tuple[Callable[[], object], str]] = [
        (as_champion(metrics={"matthews_correlation": 0.7}), "corrupt_accepted"),
        (as_champion(version="0" * 16, uri=f"x/{'0' * 16}"), "half_published"),
        (as_champion(history=record["history"][1:]), "champions_lost"),
        (as_champion(version=published.publishers[1], uri=f"x/{published.publishers[1]}"), "half_published"),
        (lambda: store.write("champion.json", b"{"), "champions_lost"),
        (lambda: store.delete("champion.json"), "champions_lost"),
        (as_champion(), ""),
        (lambda: store.delete(f"versions/{new}/config.json"), "half_published"),
        (lambda: store.write(f"versions/{new}/config.json", b"{}"), "half_published"),
    ]
    for damage, kind in damages:
        damage()
        assert (kind in found(published, LOST, LOST)) == bool(kind), kind


def test_success_that_did_not_happen_is_seen(published: PublishTogether) -> None:
    first, second = published.publishers
    assert found(published, LOST, won(second)) == {"champions_lost": 1}
    assert found(published, won(first), won(second)) == {"champions_lost": 2}


def test_other_bytes_that_were_accepted_are_seen(place: Place, s3_server, tmp_path: Path) -> None:
    scenario = Ingest(place, s3_server)
    scenario.prepare()
    result = Outcome("right", scenario.act(place, 0))
    assert found(scenario, result) == {}
    (tmp_path / "raw" / "test.csv").write_bytes(b"other")
    assert found(scenario, result) == {"corrupt_accepted": 1}


def test_reader_of_other_bytes_is_seen(
    place: Place, s3_server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    scenario = Read(place, s3_server)
    scenario.prepare()
    result = Outcome("right", scenario.act(place, 0))
    assert found(scenario, result) == {}
    (Path(result.value["directory"]) / "config.json").write_bytes(b"{}")
    assert found(scenario, result) == {"corrupt_accepted": 1}
