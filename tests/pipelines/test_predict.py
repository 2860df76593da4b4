import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import CITIES, tiny_rows

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines import predict


def call(*arguments: str | bytes, module: str = "cli", **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", f"kfp_textclf.pipelines.{module}", "predict", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **options}
    return subprocess.run(command, check=False, **options)


def labelled(model: Path, path: Path, content: str | bytes) -> str:
    """Return a CSV of some content as it is written back."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    output = io.StringIO()
    predict.predict_csv(model, path, "text", output)
    return output.getvalue()


def test_texts_of_all_lengths_come_back_in_order(onnx_model: Path):
    texts = [text for _, text in tiny_rows(CITIES[:3])] + ["", "fare " * 40]
    output = io.StringIO()
    predict.predict_texts(onnx_model, texts, output)
    rows = [line.split("\t") for line in output.getvalue().splitlines()]
    assert [row[2] for row in rows] == texts
    assert {row[0] for row in rows} <= {"fare", "flight", "meal"}
    assert all(1 / 3 <= float(row[1]) <= 1 for row in rows)


def test_standard_input_is_read_line_by_line(onnx_model: Path):
    done = call(str(onnx_model), input="book a flight\nis there a meal\n")
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == ["book a flight", "is there a meal"]


def test_csv_comes_back_with_two_more_columns(onnx_model: Path, tmp_path: Path):
    path = tmp_path / "in.csv"
    path.write_text('id,text\n1,"to boston, please"\n2,\n', encoding="utf-8")
    done = call(str(onnx_model), "--csv", str(path))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["id"], row["text"]) for row in rows] == [("1", "to boston, please"), ("2", "")]
    assert all(row["predicted_label"] and float(row["probability"]) for row in rows)


def test_csv_fields_come_back_as_they_were(onnx_model: Path, tmp_path: Path):
    rows = [["text", "x"], ["a\rb", ""], ["c\r\nd", "\n"], ['"', " , "], ["\\", "\t"]]
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerows(rows)
    found = labelled(onnx_model, tmp_path / "in.csv", written.getvalue())
    assert [row[:2] for row in csv.reader(io.StringIO(found, newline=""), strict=True)] == rows


def test_csv_field_may_be_as_long_as_in_a_data_set(onnx_model: Path, tmp_path: Path):
    assert "x" * 200_000 in labelled(onnx_model, tmp_path / "in.csv", f"text,note\nhello,{'x' * 200_000}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,x\nhello,1,2,3\n", "line 2: 4 fields instead of 2; quote the text"),
        ('text,x\n"two\nlines",1\n\nfoo\n', "line 5: 1 fields instead of 2; quote the text"),
        ("text,text\na,b\n", "line 1: two columns 'text', .*; rename one"),
        ("text,probability\na,b\n", "line 1: two columns 'probability', counting .* and probability; rename one"),
        ("predicted_label,text\na,b\n", "line 1: two columns 'predicted_label', .*; rename one"),
        (b"text\nok\nZ\xfcrich\n", "is not a CSV file in UTF-8: line 3; convert it with iconv -t utf-8"),
        ("text\nok\n" + "x" * 400_001, r"line 3: field larger than field limit \(400000\); a quote may be unbalanced"),
        ('text\nok\n"open\n', "line 3: unexpected end of data; a quote may be unbalanced"),
    ],
    ids=[
        "long row",
        "short row",
        "name twice",
        "probability",
        "predicted_label",
        "Latin-1",
        "long field",
        "open quote",
    ],
)
def test_csv_that_would_lose_something_is_refused(onnx_model: Path, tmp_path: Path, content: str | bytes, message: str):
    with pytest.raises(UserError, match=rf"in\.csv: {message}"):
        labelled(onnx_model, tmp_path / "in.csv", content)


def test_texts_beside_a_csv_are_refused(onnx_model: Path):
    done = call(str(onnx_model), "a text", "--csv", "in.csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --csv in.csv: takes no texts beside it; label them by a command of their own\n"


def test_a_text_stays_on_its_line_and_in_its_column(onnx_model: Path):
    output = io.StringIO()
    predict.predict_texts(onnx_model, ["a\tb\nc\rd\\n", "e"], output)
    assert [line.split("\t")[2:] for line in output.getvalue().split("\n")[:-1]] == [[r"a\tb\nc\rd\\n"], ["e"]]


def test_text_that_is_not_utf8_is_named(onnx_model: Path):
    line = call(str(onnx_model), encoding=None, input=b"ok\nZ\xfcrich\n").stderr.decode()
    argument = call(str(onnx_model), "ok", b"Z\xfcrich", module="start").stderr
    fix = "is not UTF-8; save the texts as UTF-8, e.g. with iconv -t utf-8\n"
    assert [line, argument] == [f"error: standard input: line 2: {fix}", f"error: argument 2: {fix}"]


def test_input_and_output_are_utf8_whatever_the_locale(onnx_model: Path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    argument = call(str(onnx_model), "Zürich", module="start", env=environment)
    line = call(str(onnx_model), input="\ufeffZürich\n", env=environment)
    assert [done.stdout.split("\t")[2:] for done in (argument, line)] == [["Zürich\n"]] * 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_one_line(onnx_model: Path, unbuffered: str):
    with Path("/dev/full").open("w") as full:
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = call(str(onnx_model), "a", module="start", env=environment, stdout=full)
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output: cannot be written (No space left on device); ")
    assert len(done.stderr.splitlines()) == 1


def test_reader_that_has_enough_ends_it_quietly(onnx_model: Path):
    reading, writing = os.pipe()
    os.close(reading)
    done = call(str(onnx_model), "a", module="start", stdout=writing)
    os.close(writing)
    assert done.returncode
    assert done.stderr == ""


def test_answers_without_torch_transformers_or_kfp(onnx_model: Path):
    code = (
        "import sys; from kfp_textclf.pipelines import cli\n"
        f"sys.argv = ['kfp-textclf', 'predict', {str(onnx_model)!r}, 'a flight']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'kfp', 'sklearn', 'pyarrow', 'boto3'}\n"
        "print(*sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\t") == 2
    assert done.stderr.strip() == ""


def test_a_model_that_answers_no_number_is_refused(onnx_model: Path, monkeypatch: pytest.MonkeyPatch):
    nothing = np.full((1, 3), np.nan, dtype=np.float32)
    monkeypatch.setattr(predict.OnnxClassifier, "probabilities", lambda *_: nothing)
    with pytest.raises(UserError, match=r"model\.onnx: gives no probabilities but NaN; export the model again"):
        predict.predict_texts(onnx_model, ["a"], io.StringIO())


def test_a_tampered_model_is_refused(onnx_model: Path, tmp_path: Path):
    copy = tmp_path / "model"
    copy.mkdir()
    for file in onnx_model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    content = bytearray((copy / "model.onnx").read_bytes())
    content[-1] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.onnx: differs from its manifest"):
        predict.open_model(copy)
