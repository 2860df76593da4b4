"""Reading texts and labels from every format, and refusing what is none."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage_inputs import as_csv

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.prepare.readers import MAX_CHARACTERS, MAX_LABEL, Columns, read_rows

ATIS = [(" i want to fly from boston", "atis_flight"), (" what is the fare", "atis_airfare")]
ATIS_BYTES = b"".join(f"{label},{text}\n".encode() for text, label in ATIS)


def read(tmp_path: Path, content: bytes, name: str = "data.csv", **columns: Any) -> list[tuple[str, str]]:
    (tmp_path / name).write_bytes(content)
    return [(text, label) for _, text, label in read_rows(tmp_path / name, Columns(**columns))]


def test_first_row_of_a_file_without_a_header_is_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, ATIS_BYTES) == ATIS


@pytest.mark.parametrize(
    "content",
    [
        b"label,text\n" + ATIS_BYTES,
        b" label , text \n" + ATIS_BYTES,
        b"\xef\xbb\xbflabel,text\n" + ATIS_BYTES,
        b"label,text\r\n" + ATIS_BYTES.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + ATIS_BYTES,
        ATIS_BYTES.rstrip(b"\n"),
        b"\n" + ATIS_BYTES.replace(b"\n", b"\n\n"),
    ],
    ids=["header", "spaced header", "BOM and header", "CRLF", "BOM", "no final newline", "blank lines"],
)
def test_ways_to_write_the_same_rows(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content) == ATIS


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (b"text,label\na,b\n", {}),
        (b"id,label,split,text\n1,b,train,a\n", {}),
        (b"classs,question\nb,a\n", {"text": "question", "label": "classs"}),
        (b"label,text\nb,a\n", {"header": "present"}),
        (b"a,b\n", {"order": ("text", "label")}),
        (b"1,a,b\n", {"order": ("id", "text", "label")}),
    ],
    ids=["other order", "more columns", "other names", "header present", "order given", "order of three"],
)
def test_columns_are_found_by_name(tmp_path: Path, content: bytes, columns: dict) -> None:
    assert read(tmp_path, content, **columns) == [("a", "b")]


def test_header_named_absent_is_a_row(tmp_path: Path) -> None:
    assert read(tmp_path, b"label,text\nb,a\n", header="absent") == [("text", "label"), ("a", "b")]


def test_quoted_text_may_hold_commas_quotes_and_lines(tmp_path: Path) -> None:
    assert read(tmp_path, b'b,"a, ""b""\nc"\nd,e\n') == [('a, "b"\nc', "b"), ("e", "d")]


def test_tsv_is_split_at_tabs_alone(tmp_path: Path) -> None:
    assert read(tmp_path, b"b\ta, c\n", "data.tsv") == [("a, c", "b")]


@pytest.mark.parametrize("name", ["data.CSV", "data.Tsv", "data.JSONL", "data.Parquet"])
def test_type_in_capitals_is_the_same(tmp_path: Path, name: str) -> None:
    parquet = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["a"], "label": ["b"]}), parquet)
    contents = [b"b,a\n", b"b\ta\n", b'{"text": "a", "label": "b"}\n', parquet.getvalue().to_pybytes()]
    content = dict(zip([".csv", ".tsv", ".jsonl", ".parquet"], contents, strict=True))[Path(name).suffix.lower()]
    assert read(tmp_path, content, name) == [("a", "b")]


def test_json_lines(tmp_path: Path) -> None:
    content = b'{"text": "a", "label": "b", "id": 1}\n\n{"label": 3, "text": null}\n'
    assert read(tmp_path, content, "data.jsonl") == [("a", "b"), ("", "3")]


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", None], "id": [1, 2], "label": ["b", "c"]})
    pq.write_table(table, tmp_path / "data.parquet")
    assert list(read_rows(tmp_path / "data.parquet", Columns())) == [(1, "a", "b"), (2, "", "c")]


def test_parquet_with_integer_and_dictionary_labels(tmp_path: Path) -> None:
    for labels, names in [(pa.array([7, 8]), ["7", "8"]), (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"])]:
        pq.write_table(pa.table({"text": ["a", "b"], "label": labels}), tmp_path / "data.parquet")
        assert [label for _, _, label in read_rows(tmp_path / "data.parquet", Columns())] == names


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("label", pa.array([1.0, None]), r"row 1: 'label' is float, .* whole numbers or strings \(pandas: astype"),
        ("label", pa.array([b"b", b"c"]), "row 1: 'label' is bytes, not a name; write labels as strings"),
        ("label", pa.array([1, 10**8], pa.date32()), r"row 2: 'label' cannot be read \(.*range\); write the column as"),
        ("label", pa.array([b"b", b"\xff"]).view(pa.string()), r"row 2: 'label' cannot be read \(.*UTF-8"),
        ("text", pa.array([b"a", b"\xff"]).view(pa.string()), r"row 2: 'text' cannot be read \(.*UTF-8"),
        ("text", pa.array([b"a", b"b"]), "row 1: 'text' is bytes, not a string; write texts as strings"),
    ],
    ids=["float", "bytes as label", "date out of range", "label not UTF-8", "text not UTF-8", "bytes as text"],
)
def test_parquet_values_that_are_no_text_or_name(tmp_path: Path, column: str, values: pa.Array, message: str) -> None:
    columns = {"text": pa.array(["a", "b"]), "label": pa.array(["x", "y"]), column: values}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=rf"^x\.parquet: {message}"):
        list(read_rows(tmp_path / "x.parquet", Columns()))


def test_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([pa.array(["a"])] * 3, names=["text", "label", "text"])
    pq.write_table(table, tmp_path / "x.parquet")
    message = r"has 2 columns 'text' among \['text', 'label', 'text'\]; rename all but one"
    with pytest.raises(UserError, match=rf"x\.parquet: {message}"):
        list(read_rows(tmp_path / "x.parquet", Columns()))
    with pytest.raises(UserError, match=rf"data\.csv: {message}"):
        read(tmp_path, b"text,label,text\na,b,c\n")
    assert read(tmp_path, b"id,label,text,id\n1,b,a,2\n") == [("a", "b")]


def test_label_may_be_long_but_not_a_page(tmp_path: Path) -> None:
    label = "b" * MAX_LABEL
    assert read(tmp_path, f"{label}  ,a\n".encode()) == [("a", f"{label}  ")]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(words, words), max_size=10))
def test_whatever_csv_can_hold_is_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    content = as_csv([("text", "label"), *rows], quoting=1)
    assert read(tmp_path, content, header="present") == rows


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(words, words), max_size=10))
def test_whatever_json_can_hold_is_read_back(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    lines = "".join(json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)
    assert read(tmp_path, lines.encode(), "data.jsonl") == rows


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.sampled_from(["data.csv", "data.tsv", "data.jsonl", "data.parquet"]))
def test_random_bytes_are_read_or_refused(tmp_path: Path, content: bytes, name: str) -> None:
    with contextlib.suppress(UserError):
        read(tmp_path, content, name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"b,a\nb\n", "line 2: 1 fields instead of 2; quote the text"),
        ("x.csv", b"b,a\nb,a,c\n", "line 2: 3 fields instead of 2; quote the text"),
        ("x.csv", b'b,a\nb,"a\nc,d\n', "line 2: .*a quote may be unbalanced"),
        ("x.csv", b'b,"a"c\n', "line 1: .*a quote may be unbalanced"),
        ("x.csv", b"b,a\nb,caf\xe9\n", "is not UTF-8; convert it, e.g. with iconv"),
        ("x.csv", b"b,a\0c\n", "line 1: .*NUL"),
        ("x.csv", b"b," + b"a" * (MAX_CHARACTERS + 1), f"line 1: text of {MAX_CHARACTERS + 1} characters; at most"),
        ("x.csv", b"b," + b"a" * 1_000_000, "line 1: "),
        (
            "x.csv",
            b"b" * (MAX_LABEL + 1) + b",a",
            "line 1: label of 201 characters; at most 200 .* swapped, set column_",
        ),
        ("x.csv", b"label,text\nb,a\nlabel , text\nd,c\n", "line 3: repeats the header; remove the line"),
        ("x.csv", b"b,a\nlabel,text\nd,c\n", "line 2: repeats the header; remove the line"),
        ("x.csv", b"text,kind\na,b\n", "looks like a header; set text_column and label_column"),
        ("x.csv", b"intent,utterance\nb,a\n", "looks like a header; set text_column and label_column"),
        ("x.jsonl", b'{"text": "a", "label": "b"}\n{"text": \n', "line 2: is not JSON"),
        ("x.jsonl", b'["a", "b"]\n', "line 1: is not an object with 'text' and 'label'"),
        ("x.jsonl", b'{"text": "a"}\n', "line 1: has no 'label'; set text_column and label_column"),
        ("x.jsonl", b'{"text": 3, "label": "b"}\n', "line 1: 'text' is int, not a string"),
        ("x.jsonl", b'{"text": "a", "label": ["b"]}\n', "line 1: 'label' is list, not a name; write labels as strings"),
        ("x.jsonl", b'{"text": "a", "label": 1.5}\n', "line 1: 'label' is float, not a name; write labels as whole"),
        ("x.jsonl", b'{"text": "a", "label": "\\ud800"}\n', "line 1: "),
        ("x.jsonl", b'{"text": "\\udfff", "label": "b"}\n', "line 1: "),
        ("x.jsonl", b"[" * 100_000 + b"\n", "line 1: is not JSON"),
        ("x.jsonl", b"1" * 10_000 + b"\n", "line 1: "),
        ("x.parquet", b"PAR1 nothing PAR1", "is not a readable Parquet file"),
        ("x.txt", b"b,a\n", r"unknown file type '.txt'; use \.csv, \.tsv, \.jsonl or \.parquet"),
    ],
    ids=[
        "missing field",
        "field too many",
        "unbalanced quote",
        "text after a quote",
        "latin-1",
        "NUL",
        "text too long",
        "line of 1 MB",
        "label too long",
        "header repeated",
        "header in the middle",
        "header with one of the names",
        "header of other names",
        "JSON cut off",
        "JSON list",
        "JSON without label",
        "JSON text a number",
        "JSON label a list",
        "JSON label a float",
        "half a surrogate pair as label",
        "half a surrogate pair as text",
        "JSON nested too deeply",
        "JSON number",
        "broken Parquet",
        "unknown type",
    ],
)
def test_malformed_file_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=rf"^{name}: .*{message}"):
        read(tmp_path, content, name)


def test_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no column 'topic' among \['label', 'text'\]; set text_column"):
        read(tmp_path, b"label,text\nb,a\n", label="topic", header="present")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"has no column 'label' among \['text'\]"):
        list(read_rows(tmp_path / "x.parquet", Columns()))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"header": "perhaps"}, "header='perhaps': is not one of auto, present, absent"),
        ({"text": "label"}, "text_column and label_column are both 'label'"),
        ({"header": "absent", "order": ("label",)}, r"column_order=\['label'\]: must name 'text' and 'label'"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(columns: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Columns(**columns)
