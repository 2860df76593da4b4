"""Fixtures of the tests of pipelines and commands."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from kfp_stand_in import StandIn
from support import artifact


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """An untrained classifier, exported for real: it answers something, always the same."""
    from kfp_textclf.components.export.torch_export import TorchClassifier, to_onnx
    from kfp_textclf.components.export.variants import write_model
    from kfp_textclf.components.train.fine_tuning import load_model

    source, target = tmp_path_factory.mktemp("torch"), tmp_path_factory.mktemp("onnx")
    load_model(tiny_model, ["fare", "flight", "meal"]).save_pretrained(source)
    (source / "tokenizer.json").write_bytes((tiny_model / "tokenizer.json").read_bytes())
    write_model(to_onnx(TorchClassifier(source).model, 17), target / "model.onnx", source)
    return artifact(target / "artifact", {p.name: p.read_bytes() for p in target.iterdir() if p.is_file()})


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled pipeline with parameters of every type and a nested step."""
    from kfp import compiler, dsl

    @dsl.component(base_image="python:3.11", packages_to_install=[], install_kfp_package=False)
    def first_step(count: int) -> str:
        return str(count)

    @dsl.component(base_image="python:3.11", packages_to_install=[], install_kfp_package=False)
    def second_step(text: str):
        print(text)

    @dsl.pipeline(name="example")
    def example(
        gpu_count: str,
        count: int = 1,
        rate: float = 0.1,
        fast: bool = True,
        names: list = ["a"],  # noqa: B006
        options: dict = {},  # noqa: B006
    ):
        first = first_step(count=count)
        with dsl.If(first.output == "1"):  # type: ignore[attr-defined]
            second_step(text=gpu_count)

    path = tmp_path_factory.mktemp("package") / "example.yaml"
    compiler.Compiler().compile(example, str(path))  # type: ignore[arg-type]
    return path


@pytest.fixture
def submit(tmp_path: Path, package: Path) -> Callable[..., SimpleNamespace]:
    """Call ``kfp-textclf submit``, or ``schedule nightly``, on the example pipeline."""

    def call(server: StandIn | str, *options: str, command: str = "submit", **environment: str) -> SimpleNamespace:
        host = server if isinstance(server, str) else server.url
        arguments = [command, *(["--host", host] if host else []), "--pipeline", str(package), "--set", "gpu_count=0"]
        arguments += ["--poll", "0.05"] if command == "submit" else ["nightly"]
        known = {name: value for name, value in os.environ.items() if not name.startswith(("KFP_", "KF_", "KUBE"))}
        done = subprocess.run(
            [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments, *options],
            cwd=tmp_path,
            env={**known, "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return SimpleNamespace(
            code=done.returncode, out=done.stdout, err=done.stderr, last=done.stderr.splitlines()[-1:]
        )

    return call
