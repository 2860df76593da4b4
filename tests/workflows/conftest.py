"""A repository with this project's files, a host that runs its workflows, and GitHub's API."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from actions import ROOT, STUBS, Runner
from github_stand_in import GitHub, github
from support import CITIES, artifact, run_git, tiny_rows, write_csv

from kfp_textclf.components.common.artifacts import MANIFEST
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.pipelines.dev_s3 import S3Server

SPLITS = {"train.csv": CITIES[:15], "test.csv": CITIES[15:20]}


@pytest.fixture(scope="session")
def project_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository that holds the files of this checkout as they are."""
    directory = tmp_path_factory.mktemp("project") / "texts"
    for name in run_git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    run_git(directory.parent, "init", "-q", "-b", "main", directory.name)
    run_git(directory, "config", "uploadpack.allowAnySHA1InWant", "true")
    run_git(directory, "add", "--all")
    run_git(directory, "commit", "-qm", "The project")
    return directory


@pytest.fixture
def origin(project_files: Path, tmp_path: Path) -> Path:
    """The same, to be changed by one test."""
    return Path(shutil.copytree(project_files, tmp_path / "origin"))


@pytest.fixture
def api(tmp_path: Path) -> Iterator[GitHub]:
    """GitHub's API."""
    with github(tmp_path) as server:
        yield server


@pytest.fixture
def runner(origin: Path, api: GitHub, tmp_path: Path) -> Runner:
    """A host that runs workflows; their steps reach GitHub's API through stubs of gh and cml."""
    environment = {"STUB_API": api.url, "NODE_EXTRA_CA_CERTS": str(api.certificate), "STUBS": str(STUBS)}
    environment |= {"GITHUB_SERVER_URL": "https://github.com"}
    return Runner(tmp_path / "host", origin, Path(sys.executable).parents[1], environment)


@pytest.fixture(scope="session")
def evaluations(tiny_model: Path, s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A model store in S3 whose champion is a poor model, and real evaluations of a better and of a worse model."""
    from kfp_textclf.components.compare.stage import compare
    from kfp_textclf.components.evaluate.gate import GateSettings
    from kfp_textclf.components.evaluate.stage import evaluate
    from kfp_textclf.components.export.stage import export
    from kfp_textclf.components.prepare.stage import prepare
    from kfp_textclf.components.publish.stage import publish
    from kfp_textclf.components.train.settings import TrainSettings
    from kfp_textclf.components.train.stage import train

    place = tmp_path_factory.mktemp("evaluations")
    texts = {name: write_csv(place / name, tiny_rows(cities)).read_bytes() for name, cities in SPLITS.items()}
    raw = artifact(place / "raw", texts)
    data, base = str(place / "prepared"), tiny_model.as_uri()
    prepare(str(raw), data, base_model=base, train_file="train.csv", test_file="test.csv", max_length=32)
    for name, rate in (("poor", 1e-6), ("good", 3e-3)):
        settings = TrainSettings(epochs=5, batch_size=16, learning_rate=rate, freeze_embeddings=False, seed=4)
        train(data, str(place / name), base_model=base, settings=settings)
        export(str(place / name), data, str(place / f"{name}-onnx"), str(place / f"{name}-int8"))
    lenient = GateSettings(floor=-1.0, max_int8_drop=2.0, min_baseline_gain=-2.0)

    def judge(name: str, model: str, champion: str) -> Path:
        (place / name).mkdir()
        output = place / name / "evaluation"
        onnx, int8 = str(place / f"{model}-onnx"), str(place / f"{model}-int8")
        done = evaluate(data, onnx, int8, str(output), champion_uri=champion, settings=lenient)
        compare(data, str(place / name / "comparison"), champion_uri=champion)
        (place / name / "trained").symlink_to(place / model)
        (place / name / "report.html").write_text(done.report_html)
        (place / name / "report.md").write_text(done.report_markdown)
        return output

    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3_server.environment.items():
            environment.setenv(name, value)
        store = ModelStore.open(f"s3://{s3_server.bucket}/continuous/models")
        publish(
            str(place / "poor-int8"), str(judge("first", "poor", "")), str(place / "out"), publish_to=store.store.uri
        )
        champion = store.uri_of((store.champion() or {})["version"])
        files = {path.name: path for path in (place / "good-int8").iterdir() if path.name != MANIFEST}
        good = store.add(files, "test")
        better, worse = judge("better", "good", champion), judge("worse", "poor", store.uri_of(good))
    return SimpleNamespace(champion=champion, better=better, worse=worse, model=place / "good-int8")
