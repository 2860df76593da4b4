"""A prepared data set against the champion's: what changed, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from stage_inputs import CITIES, as_csv, remains, rewritten
from support import artifact, tiny_rows

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.compare.stage import DatasetComparison, compare
from kfp_textclf.components.prepare.stage import prepare

ROWS = tiny_rows(CITIES[:8])
CARRIED = ("labels.json", "profile.json", "fingerprints.parquet")


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path):
    """Prepare two versions of a file, and compare the second with a champion that learned from the first."""

    def prepared(name: str, rows: list) -> Path:
        raw = artifact(tmp_path / f"raw-{name}", {"train.csv": as_csv(rows)})
        output = tmp_path / name
        prepare(str(raw), str(output), base_model=tiny_model.as_uri(), max_length=32, git_rev=f"rev-{name}")
        return output

    def call(before: list, now: list, without: tuple[str, ...] = (), **options: Any) -> DatasetComparison:
        first = prepared("before", before)
        files = {name: (first / name).read_bytes() for name in CARRIED if name not in without}
        champion = artifact(tmp_path / "champion", files)
        return compare(str(prepared("now", now)), str(tmp_path / "out"), champion_uri=champion.as_uri(), **options)

    return call


def test_same_data_have_not_changed(run, tmp_path: Path) -> None:
    result = run(ROWS, ROWS)
    assert result.changes["texts"] == {"new": 0, "removed": 0, "relabelled": 0, "common": len(ROWS), "exact": True}
    assert all(check["result"] == "passed" for check in result.changes["checks"].values())
    assert set(result.changes["checks"]) == {
        "new_labels", "vanished_labels", "changed_labels", "length_drift", "label_drift",
    }  # fmt: skip
    assert read_json(verified(tmp_path / "out") / "comparison.json") == json.loads(json.dumps(result.changes))


def test_every_kind_of_change_is_told(run) -> None:
    relabelled = [("meal", ROWS[0][1]), *ROWS[1:]]
    now = [*relabelled[:-2], *[("hotel", f"a <b>hotel</b> number {n} please") for n in range(6)]]
    result = run(ROWS, now)
    assert result.changes["texts"] == {"new": 6, "removed": 2, "relabelled": 1, "common": len(ROWS) - 2, "exact": True}
    assert result.changes["checks"]["new_labels"] == {"count": 1, "measure": 1, "result": "warn"}
    assert result.changes["dataset"]["before"]["git_rev"] == "rev-before"
    assert result.changes["dataset"]["now"]["git_rev"] == "rev-now"
    assert {"label": "hotel", "before": 0, "now": 6} in result.changes["classes"]
    assert result.changes["examples"]["relabelled"] == [f"{ROWS[0][1]!r} as 'meal', was 'flight'"]
    assert "<b>hotel" not in result.report_html
    assert "&lt;b&gt;hotel" in result.report_html


def test_metadata_carry_no_text(run) -> None:
    result = run(ROWS, [*ROWS[:-1], ("meal", "a secret text of its own")])
    assert "secret" in str(result.changes["examples"])
    assert "secret" not in json.dumps(result.metadata(), allow_nan=False)


@pytest.mark.parametrize(
    ("now", "check", "message"),
    [
        ([*ROWS, ("hotel", "x a"), ("hotel", "x b"), ("hotel", "x c")], "new_labels", "1 labels .* first: 'hotel'"),
        ([row for row in ROWS if row[0] != "meal"], "vanished_labels", "1 labels .* first: 'meal'"),
        ([("meal", text) for label, text in ROWS if label == "flight"] + ROWS[3:], "changed_labels", "24 texts .* was"),
        ([(label, f"{text} {text}") for label, text in ROWS], "length_drift", "distance of the text lengths"),
        ([row for row in ROWS if row[0] != "meal" or "boston" in row[1]], "label_drift", "distance of the label"),
    ],
)
def test_each_check_refuses_when_it_is_an_error_and_warns_otherwise(
    run, tmp_path: Path, now: list, check: str, message: str
) -> None:
    assert run(ROWS, now).changes["checks"][check]["result"] == "warn"
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(UserError, match=rf"check {check}: {message}.*set prepare\.checks\.{check}=warn"):
        run(ROWS, now, checks={check: "error"})
    assert not (tmp_path / "out").exists()
    assert check not in run(ROWS, now, checks={check: "off"}).changes["checks"]


def test_champion_that_carries_less_is_compared_as_far_as_it_goes(run) -> None:
    result = run(ROWS, ROWS[:-3], without=("profile.json", "fingerprints.parquet"))
    assert result.changes["missing"] == ["profile.json", "fingerprints.parquet"]
    assert set(result.changes["checks"]) == {"new_labels", "vanished_labels"}
    assert "does not carry profile.json, fingerprints.parquet" in result.report_html


def test_without_a_champion_there_is_nothing_to_compare(prepared: Path, tmp_path: Path) -> None:
    result = compare(str(prepared), str(tmp_path / "out"))
    assert (result.changes["champion"], result.changes["checks"]) == ("", {})
    verified(tmp_path / "out")


def test_labels_are_those_of_the_model_when_nothing_else_names_them(prepared: Path, tmp_path: Path) -> None:
    config = json.dumps({"id2label": {"0": "fare", "1": "old"}})
    champion = artifact(tmp_path / "champion", {"config.json": config})
    result = compare(str(prepared), str(tmp_path / "out"), champion_uri=champion.as_uri())
    counts = {name: check["count"] for name, check in result.changes["checks"].items()}
    assert counts == {"new_labels": 2, "vanished_labels": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels.json": "{}"}, r"labels\.json: names no labels"),
        ({"profile.json": "[]"}, r"profile\.json: is not a version 1 profile"),
        ({"fingerprints.parquet": b"PAR1"}, r"fingerprints\.parquet: is not a readable sketch"),
    ],
)
def test_damaged_champion_is_refused_and_nothing_is_left(
    prepared: Path, tmp_path: Path, changes: dict, message: str
) -> None:
    champion = rewritten(prepared, tmp_path / "champion", changes)
    with pytest.raises(UserError, match=message):
        compare(str(prepared), str(tmp_path / "out"), champion_uri=champion.as_uri())
    assert not [name for name in remains(tmp_path) if "out" in name]


def test_champion_that_is_not_there_is_named(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent.: is neither a published version nor a store"):
        compare(str(prepared), str(tmp_path / "out"), champion_uri=(tmp_path / "absent").as_uri())
