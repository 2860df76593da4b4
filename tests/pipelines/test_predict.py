import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from support import CITIES, tiny_rows

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines import predict


def call(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "predict", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


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
