"""The whole stage: from pinned files to split and tokenised tables."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from stage_inputs import CITIES, as_csv, remains
from support import artifact, tiny_rows
from tokenizers import Tokenizer

from kfp_textclf.components.common import tokenising
from kfp_textclf.components.common.artifacts import read_json, sha256_of, verified
from kfp_textclf.components.common.data_checks import CHAMPION_CHECKS, CHECKS
from kfp_textclf.components.common.data_profile import DataProfile, read_fingerprints, text_key
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare import selection
from kfp_textclf.components.prepare.stage import PreparedDataset, prepare

BOTH: dict[str, Any] = {"train_file": "train.csv", "test_file": "test.csv"}
TRAIN, TEST = tiny_rows(CITIES[:6]), tiny_rows(CITIES[6:8])


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path):
    """Prepare these rows (label, text) or bytes, and return what the stage says."""

    def call(train: list | bytes, test: list | bytes | None = None, **options: Any) -> PreparedDataset:
        contents = {"train.csv": train, "test.csv": test}
        files = {n: c if isinstance(c, bytes) else as_csv(c) for n, c in contents.items() if c is not None}
        raw = artifact(tmp_path / "raw", files)
        names = {name: file for name, file in BOTH.items() if file in files}
        options = {"base_model": tiny_model.as_uri(), "max_length": 32, **names, **options}
        return prepare(str(raw), str(tmp_path / "out"), **options)

    return call


def tables(directory: Path) -> dict[str, dict[str, list]]:
    return {
        split: pq.read_table(directory / f"{split}.parquet").to_pydict() for split in ("train", "validation", "test")
    }


def test_artifact_holds_what_the_contract_says(prepared: Path, tiny_model: Path) -> None:
    verified(prepared)
    assert {
        "train.parquet",
        "validation.parquet",
        "test.parquet",
        "labels.json",
        "tokenizer.json",
        "profile.json",
        "fingerprints.parquet",
    } <= set(remains(prepared))
    schema = pq.read_schema(prepared / "train.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "text": "string",
        "label": "string",
        "input_ids": "list<element: int32>",
        "length": "int32",
    }
    assert read_json(prepared / "labels.json") == ["fare", "flight", "meal"]


def test_ids_are_those_of_the_base_models_tokenizer(prepared: Path, tiny_model: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    for table in tables(prepared).values():
        assert table["input_ids"] == [tokenizer.encode(text).ids for text in table["text"]]
        assert table["length"] == [len(ids) for ids in table["input_ids"]]


def test_splits_share_no_text_and_test_is_the_test_file(prepared: Path) -> None:
    texts = {split: set(table["text"]) for split, table in tables(prepared).items()}
    assert not texts["train"] & texts["validation"]
    assert not (texts["train"] | texts["validation"]) & texts["test"]
    assert texts["test"] == {text for _, text in tiny_rows(CITIES[15:])}


def test_same_input_gives_the_same_bytes(run, tmp_path: Path) -> None:
    run(TRAIN, TEST)
    before = {file.name: sha256_of(file) for file in (tmp_path / "out").iterdir()}
    run(TRAIN, TEST)
    assert {file.name: sha256_of(file) for file in (tmp_path / "out").iterdir()} == before


def test_another_seed_splits_otherwise(run, tmp_path: Path) -> None:
    run(TRAIN, TEST)
    first = tables(tmp_path / "out")
    run(TRAIN, TEST, seed=14)
    second = tables(tmp_path / "out")
    assert first["validation"]["text"] != second["validation"]["text"]
    assert first["test"] == second["test"]


def test_duplicates_leaks_and_empty_rows_are_dropped_and_counted(run) -> None:
    dirty = [("flight", f" {TRAIN[0][1]}"), TEST[0], TEST[1], ("fare", "")]
    result = run([*TRAIN, *dirty], [*TEST, TEST[0]])
    assert result.counts["train"]["rows_read"] == len(TRAIN) + 4
    assert result.counts["train"]["duplicates_dropped"] == 1
    assert result.counts["train"]["leaked_dropped"] == 2
    assert result.counts["train"]["empty_dropped"] == 1
    assert result.counts["test"]["duplicates_dropped"] == 1
    assert result.rows["train"] + result.rows["validation"] == len(TRAIN)
    assert result.rows["test"] == len(TEST)
    assert result.metrics()["duplicates_dropped"] == 2


def test_first_row_of_a_headerless_file_counts(run) -> None:
    assert run(TRAIN, TEST).counts["train"]["rows_read"] == len(TRAIN)


def test_one_file_is_split_three_ways_without_leaks(run, tmp_path: Path) -> None:
    result = run([*TRAIN, *TRAIN], train_file="", test_fraction=0.2, validation_fraction=0.2)
    assert sum(result.rows.values()) == len(TRAIN)
    assert result.class_counts["test"] == {label: round(0.2 * 18) for label in ("fare", "flight", "meal")}
    texts = [text for table in tables(tmp_path / "out").values() for text in table["text"]]
    assert len(set(texts)) == len(texts)


def test_class_of_one_row_is_learned_from(run) -> None:
    result = run([*TRAIN, ("rare", "a text of its own")], train_file="")
    assert result.class_counts["train"]["rare"] == 1
    assert "rare" in result.labels
    assert all("rare" not in result.class_counts[split] for split in ("validation", "test"))


def test_rare_classes_go_on_request(run) -> None:
    result = run([*TRAIN, ("rare", "a text of its own")], TEST, min_examples=2)
    assert result.labels == ["fare", "flight", "meal"]
    assert result.counts["train"]["rare_label_dropped"] == 1


def test_labels_are_sorted_whatever_the_order_of_rows(run) -> None:
    assert run(TRAIN[::-1], TEST).labels == run(TRAIN, TEST).labels == ["fare", "flight", "meal"]


def test_long_texts_are_cut_and_counted(run, tmp_path: Path) -> None:
    result = run([*TRAIN, ("meal", "meal " * 50), ("fare", "fare " * 60)], TEST)
    assert (result.truncated, result.longest) == (2, 32)
    assert result.metrics()["truncated_share"] == 2 / sum(result.rows.values())
    assert max(max(table["length"]) for table in tables(tmp_path / "out").values()) == 32


def test_text_that_is_cut_by_many_times_counts_once(run) -> None:
    assert run([*TRAIN, ("meal", "meal " * 500)], TEST).truncated == 1


def test_saved_tokenizer_cuts_at_the_same_length(prepared: Path) -> None:
    truncation = json.loads((prepared / "tokenizer.json").read_text())["truncation"]
    assert truncation["max_length"] == 32


def test_multi_intents_become_a_class_or_not(run) -> None:
    multi = [("flight#fare", f"flight and fare {number}") for number in range(4)]
    assert "flight#fare" in run([*TRAIN, *multi], TEST).labels
    first = run([*TRAIN, *multi], TEST, multi_label="first")
    assert first.labels == ["fare", "flight", "meal"]
    splits = Counter(first.class_counts["train"]) + Counter(first.class_counts["validation"])
    assert splits["flight"] == 18 + 4
    assert run([*TRAIN, *multi], TEST, multi_label="drop").counts["train"]["multi_label_rows"] == 4


def test_unseen_labels_are_dropped_on_request(run) -> None:
    result = run(TRAIN, [*TEST, ("new", "never seen")], unseen_labels="drop")
    assert result.counts["test"]["unseen_label_dropped"] == 1


def test_report_escapes_labels(run) -> None:
    evil = [("<script>", f"evil text {number}") for number in range(3)]
    assert "<script>" not in run([*TRAIN, *evil], TEST).report_html


def test_figures_are_plain_numbers(run) -> None:
    result = run(TRAIN, TEST)
    json.dumps(result.metadata(), allow_nan=False)
    assert all(isinstance(value, int | float) for value in result.metrics().values())


@pytest.mark.parametrize(
    ("train", "test", "options", "message"),
    [
        (b"", TEST, {}, r"train\.csv: no usable row of 0 read; each needs a text and a label"),
        (TRAIN, b"", {}, r"test\.csv: no usable row of 0 read"),
        (b"label,text\n", TEST, {}, r"train\.csv: no usable row"),
        ([("x", "a"), ("x", "b")], [("x", "c")], {}, r"train\.csv: 2 usable rows of 1 label; a classifier needs 2"),
        (TEST, TEST, {}, r"train\.csv: no usable row"),
        (TRAIN, [("new", "never seen")], {}, "test: label 'new' never in train"),
        (TRAIN, TEST, {"train_file": "absent.csv"}, r"train_file='absent\.csv': is not in the raw data set"),
        (TRAIN, TEST, {"train_file": ""}, r"raw data set holds test\.csv, train\.csv; set train_file to one of them"),
        (TRAIN, TEST, {"train_file": "../raw/train.csv"}, "train_file='../raw/train.csv': is not in the raw"),
        (TRAIN, TEST, {"max_length": 65}, "max_length=65: the base model takes 8 to 64 tokens"),
        (TRAIN, TEST, {"max_length": 4}, "max_length=4: the base model takes 8 to 64 tokens"),
        (TRAIN, TEST, {"min_examples": 100}, r"train\.csv: no usable row"),
        (TRAIN, TEST, {"base_model": "tiny"}, "base_model 'tiny': is not of the form"),
    ],
    ids=[
        "empty train",
        "empty test",
        "header alone",
        "one class",
        "train all in test",
        "unseen label",
        "absent file",
        "which file",
        "path out of the data set",
        "over the model's length",
        "too short",
        "every label rare",
        "bad base model",
    ],
)
def test_unusable_data_is_refused_and_nothing_is_left(
    run, tmp_path: Path, train, test, options: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(train, test, **options)
    assert not [name for name in remains(tmp_path) if "out" in name or "partial" in name]


def test_damaged_raw_data_is_refused(run, tmp_path: Path, tiny_model: Path) -> None:
    run(TRAIN, TEST)
    (tmp_path / "raw" / "train.csv").write_bytes(b"other,bytes\n")
    with pytest.raises(UserError, match=r"train\.csv: differs from its manifest"):
        prepare(str(tmp_path / "raw"), str(tmp_path / "again"), base_model=tiny_model.as_uri(), **BOTH)


def test_check_of_level_error_names_file_and_line_and_leaves_nothing(run, tmp_path: Path) -> None:
    dirty = [*TRAIN, ("meal", "a <b>meal</b>"), ("meal", "another <i>meal</i>")]
    with pytest.raises(UserError) as raised:
        run(dirty, TEST, checks={"markup": "error"})
    assert str(raised.value) == (
        f"check markup: 2 texts with HTML or script ({2 / (len(dirty) + len(TEST)):.4g}, limit 0); first: "
        f"train.csv: line {len(TRAIN) + 1}: 'a <b>meal</b>' as 'meal'; extract the text, "
        "or set prepare.checks.markup=warn"
    )
    assert remains(tmp_path) == ["raw", "raw/manifest.json", "raw/test.csv", "raw/train.csv"]
    assert run(dirty, TEST, checks={"markup": "error"}, limits={"markup": 0.5}).checks["markup"]["result"] == "passed"


@pytest.mark.parametrize(
    ("check", "extra", "message"),
    [
        ("empty", [("meal", " ")], r"1 rows without text or label.* train\.csv: line 55: '' as 'meal'"),
        ("duplicates", [TRAIN[0]], rf"1 rows repeating.* train\.csv: line 1: '{TRAIN[0][1]}' as 'flight'"),
        ("conflicting_labels", [("meal", TRAIN[0][1])], r"1 texts under several labels.* train\.csv: line 1: "),
        ("leakage", [TEST[2]], rf"1 training texts standing.* train\.csv: line 55: '{TEST[2][1]}'"),
        ("class_minimum", [("rare", "a text of its own")], r"1 labels with fewer.* first: 'rare' \(1 rows\)"),
        ("multi_label", [("meal#fare", "x of two")], r"1 rows with several.* line 55: 'x of two' as 'meal#fare'"),
        ("email_address", [("meal", "ask a@b.example")], r"1 texts with an e-mail.* line 55: "),
    ],
)
def test_each_check_refuses_when_it_is_an_error(run, check: str, extra: list, message: str) -> None:
    tolerated = {check: 0}
    assert len(TRAIN) == 54
    run(TRAIN, TEST, checks={check: "error"}, limits=tolerated)
    with pytest.raises(UserError, match=rf"check {check}: {message}.*set prepare\.checks\.{check}=warn"):
        run([*TRAIN, *extra], TEST, checks={check: "error"}, limits=tolerated)
    assert run([*TRAIN, *extra], TEST, checks={check: "warn"}, limits=tolerated).checks[check]["result"] == "warn"
    assert check not in run([*TRAIN, *extra], TEST, checks={check: "off"}).checks


def test_unseen_labels_that_are_dropped_are_reported(run) -> None:
    test = [*TEST, ("new", "never seen")]
    result = run(TRAIN, test, unseen_labels="drop")
    assert result.checks["unseen_labels"] == {"count": 1, "measure": 1, "result": "warn"}
    with pytest.raises(
        UserError, match=r"check unseen_labels: 1 test rows.* test\.csv: line 19: 'never seen' as 'new'"
    ):
        run(TRAIN, test, unseen_labels="drop", checks={"unseen_labels": "error"})


def test_unknown_check_is_refused_before_anything_is_read(run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prepare\.checks\.marcup: unknown check; did you mean markup\?"):
        run(TRAIN, TEST, checks={"marcup": "warn"})


def test_report_shows_every_check_with_its_result(run) -> None:
    page = run([*TRAIN, ("meal", "<script>")], TEST, checks={"link": "off"}).report_html
    for name in CHECKS:
        assert (f">{name}<" in page) == (name not in CHAMPION_CHECKS), name
    assert "&#39;&lt;script&gt;&#39; as &#39;meal&#39;" in page


def test_profile_counts_what_was_prepared(run, tmp_path: Path) -> None:
    result = run([*TRAIN, TRAIN[0]], TEST, git_rev="abc")
    profile = DataProfile.read(tmp_path / "out" / "profile.json")
    assert (profile.rows, profile.class_counts, profile.counts) == (result.rows, result.class_counts, result.counts)
    every = list(tables(tmp_path / "out").values())
    assert profile.length_tokens == Counter(length for table in every for length in table["length"])
    assert profile.length_characters == Counter(len(text) for table in every for text in table["text"])
    assert profile.dataset == {"git_rev": "abc", "files": read_json(tmp_path / "raw" / "manifest.json")["files"]}


def test_fingerprints_are_those_of_every_text(run, tmp_path: Path) -> None:
    run(TRAIN, TEST)
    expected = {
        int.from_bytes(text_key(text)[:8], "big"): label
        for table in tables(tmp_path / "out").values()
        for text, label in zip(table["text"], table["label"], strict=True)
    }
    found = read_fingerprints(tmp_path / "out" / "fingerprints.parquet")
    assert found == expected
    assert list(found) == sorted(expected)


def test_rows_beyond_one_batch_keep_their_order(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(TRAIN, TEST)
    whole = tables(tmp_path / "out")
    monkeypatch.setattr(tokenising, "BATCH_ROWS", 5)
    monkeypatch.setattr(selection, "BATCH_CHARACTERS", 100)
    run(TRAIN, TEST)
    assert tables(tmp_path / "out") == whole
    assert pq.ParquetFile(tmp_path / "out" / "test.parquet").num_row_groups == 4
