"""What users get: a wheel that works outside the checkout, and a checkout without data or secrets."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kfp_textclf.components.images import VERSION
from kfp_textclf.pipelines.sources import COMPONENTS

ROOT = COMPONENTS.parent


def tracked() -> list[str]:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, output = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(output), str(source)], check=True)
    return next(output.glob("*.whl"))


def test_wheel_holds_code_yaml_and_templates_and_no_data(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"kfp_textclf-{VERSION}-")
    for name in (
        "components/train/component.yaml",
        "components/common/templates/report.html.j2",
        "pipelines/training.yaml",
    ):
        assert f"kfp_textclf/{name}" in names
    sources = {f"kfp_textclf/{name}" for name in tracked() if name.startswith(("components/", "pipelines/"))}
    assert {name for name in sources if name.endswith((".py", ".yaml", ".j2"))} <= set(names)
    assert not [name for name in names if name.endswith((".csv", ".tsv", ".parquet", ".dvc"))]


def test_wheel_works_from_anywhere(wheel: Path, tmp_path: Path):
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
        "import kfp_textclf.components as c; from kfp_textclf.components import train_classifier\n"
        "from kfp_textclf.components.common.report import Facts, render_html\n"
        "print(c.__file__, train_classifier.name, len(render_html('t', 's', [Facts([('a', 1)])])) > 100)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(target / "kfp_textclf/components/__init__.py"), "train-classifier", "True"]


def test_repository_holds_no_foreign_data_and_no_machine_of_ours():
    names = tracked()
    assert {name for name in names if name.endswith(".csv")} == {"data/sample/train.csv", "data/sample/test.csv"}
    assert sum((ROOT / name).stat().st_size for name in names if name.startswith("data/sample/")) < 500_000
    assert not [name for name in names if name.endswith((".onnx", ".safetensors", ".pkl", ".bin", ".pt"))]


def test_modules_are_small():
    lengths = {n: len((ROOT / n).read_text("utf-8").splitlines()) for n in tracked() if n.endswith(".py")}
    limits = {name: 500 if name.startswith("tests/") else 300 for name in lengths}
    assert {name: count for name, count in lengths.items() if count > limits[name]} == {}
    components = {n: count for n, count in lengths.items() if n.endswith("/component.py")}
    assert max(components.values()) <= 120


def test_no_image_is_named_by_a_tag_that_moves():
    named = {name for name in tracked() if (ROOT / name).is_file() and b":" + b"latest" in (ROOT / name).read_bytes()}
    assert named == set()
