import subprocess
import sys
from pathlib import Path

import pytest

SEEN = """
import sys
from kfp_textclf.pipelines.start import main
try:
    main()
finally:
    print(*sorted({"kfp", "pydantic", "torch", "transformers", "typer"} & sys.modules.keys()), file=sys.stderr)
"""


def call(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", SEEN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_given_texts_are_labelled_without_loading_the_command_line(onnx_model: Path):
    done = call("predict", str(onnx_model), "book a flight", "is there a meal")
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == ["book a flight", "is there a meal"]
    assert done.stderr.strip() == ""


def test_unusable_model_is_one_line(tmp_path: Path):
    done = call("predict", str(tmp_path / "none"), "a text")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'none'}: is no directory")
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["predict", "model", "text", "--help"]])
def test_everything_else_is_the_command_line(arguments: list[str]):
    done = call(*arguments)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
