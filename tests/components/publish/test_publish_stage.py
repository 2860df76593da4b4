"""Publishing: only what was promoted, under a version that never changes."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from stage_inputs import remains, rewritten

from kfp_textclf.components.common.artifacts import read_json, verified
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.object_store import Stored
from kfp_textclf.components.common.published import open_version
from kfp_textclf.components.common.scoring import OnnxClassifier
from kfp_textclf.components.publish.stage import PublishedModel, publish


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelStore:
    """An empty store."""
    monkeypatch.setenv("KFP_TEXTCLF_CACHE", str(tmp_path / "cache"))
    file = request.param == "file"
    return ModelStore.open((tmp_path / "store").as_uri() if file else request.getfixturevalue("s3_uri"))


def content(store: ModelStore) -> dict[str, str]:
    """Return every object with its tag."""
    return {key: (store.store.read(key) or Stored(b"", "")).tag for key in store.store.keys("")}


@pytest.fixture
def evaluation(evaluated: SimpleNamespace, tmp_path: Path):
    """Write the evaluation again with some fields changed."""

    def call(name: str = "evaluation", **changes: object) -> Path:
        content = {**read_json(evaluated.directory / "metrics.json"), **changes}
        return rewritten(evaluated.directory, tmp_path / name, {"metrics.json": json.dumps(content)})

    return call


@pytest.fixture
def published(exported: SimpleNamespace, evaluated: SimpleNamespace, store: ModelStore, tmp_path: Path):
    """Publish the int8 model into the store."""

    def call(evaluation: Path = evaluated.directory, model: Path = exported.int8, keep: int = 0) -> PublishedModel:
        output = str(tmp_path / "published")
        return publish(str(model), str(evaluation), output, publish_to=store.store.uri, keep_versions=keep)

    return call


def test_version_holds_the_model_and_its_evaluation(published, store: ModelStore, exported: SimpleNamespace) -> None:
    result = published()
    assert result.uri == store.uri_of(result.version)
    directory = open_version(result.uri)
    served = [name for name in remains(exported.int8) if name != "manifest.json"]
    assert remains(directory) == sorted(
        [*served, "evaluation.json", "fingerprints.parquet", "manifest.json", "profile.json"]
    )
    assert (directory / "model.int8.onnx").read_bytes() == (exported.int8 / "model.int8.onnx").read_bytes()
    assert OnnxClassifier(directory).probabilities(["flights to boston"]).shape == (1, 3)


def test_first_model_becomes_the_champion(published, store: ModelStore, tmp_path: Path) -> None:
    result = published()
    champion = store.champion()
    assert champion
    assert (champion["version"], champion["previous"], result.previous) == (result.version, "", "")
    assert read_json(verified(tmp_path / "published") / "published.json") == champion


def test_publishing_again_changes_nothing(published, store: ModelStore) -> None:
    first = published()
    before = content(store)
    assert published() == first
    assert content(store) == before


def test_version_does_not_depend_on_the_speed_measured(published, evaluation, evaluated: SimpleNamespace) -> None:
    variants = read_json(evaluated.directory / "metrics.json")["variants"]
    slower = {name: {**figures, "latency_ms_p50": 99.0} for name, figures in variants.items()}
    assert published(evaluation(variants=slower)).version == published().version


def test_better_model_follows_the_champion_it_was_compared_with(
    published, evaluation, exported: SimpleNamespace, store: ModelStore, tmp_path: Path
) -> None:
    first = published()
    other = rewritten(exported.int8, tmp_path / "other", {"export.json": "{}"})
    compared = evaluation(champion={"version": first.version, "uri": first.uri, "matthews_correlation": 0.5})
    second = published(compared, other)
    assert second.version != first.version
    assert (second.previous, (store.champion() or {})["version"]) == (first.uri, second.version)
    store.verify(first.version)


def test_champion_that_moved_meanwhile_stops_publishing(
    published, exported: SimpleNamespace, store: ModelStore, tmp_path: Path
) -> None:
    champion = published()
    output = tmp_path / "late"
    other = rewritten(exported.int8, tmp_path / "other", {"export.json": "{}"})
    with pytest.raises(UserError, match=rf"the champion is now {champion.version}, .*compared with none; run the pipe"):
        published(model=other)
    assert (store.champion() or {})["version"] == champion.version
    assert not output.exists()
    hidden = {Path(name).name for name in remains(tmp_path) if "partial" in name or Path(name).name.startswith(".")}
    assert hidden <= {".lock"}  # of the compare-and-swap in a directory


@pytest.mark.parametrize("verdict", ["reject", "", None, "Promote"])
def test_anything_but_promote_is_refused(published, evaluation, store: ModelStore, tmp_path: Path, verdict) -> None:
    with pytest.raises(UserError, match=r"the verdict is .*; only promoted models are published"):
        published(evaluation(verdict=verdict))
    assert content(store) == {}
    assert not (tmp_path / "published").exists()


def test_tampered_version_in_the_store_is_refused(published, store: ModelStore) -> None:
    version = published().version
    store.store.write(f"versions/{version}/model.int8.onnx", b"evil")
    with pytest.raises(UserError, match=r"model\.int8\.onnx: differs from its manifest"):
        published()


@pytest.mark.parametrize("part", ["model", "evaluation"])
def test_tampered_input_is_refused(
    published, exported: SimpleNamespace, evaluation, store: ModelStore, tmp_path: Path, part: str
) -> None:
    inputs = {"model": rewritten(exported.int8, tmp_path / "model", {}), "evaluation": evaluation()}
    file = inputs[part] / {"model": "model.int8.onnx", "evaluation": "metrics.json"}[part]
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(UserError, match="differs from its manifest"):
        published(inputs["evaluation"], inputs["model"])
    assert content(store) == {}


def test_store_below_a_file_leaves_nothing(exported, evaluated, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Not a directory; check the rights"):
        publish(
            str(exported.int8),
            str(evaluated.directory),
            str(tmp_path / "published"),
            publish_to=(tmp_path / "file" / "store").as_uri(),
        )
    assert remains(tmp_path) == ["file"]


def test_store_of_another_form_is_refused(exported, evaluated, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="publish_to='/models': is not of the form file:///absolute/path or s3://"):
        publish(str(exported.int8), str(evaluated.directory), str(tmp_path / "p"), publish_to="/models")
    assert remains(tmp_path) == []


def test_version_holds_what_is_known_of_its_data(published, evaluated: SimpleNamespace, tmp_path: Path, store) -> None:
    known = {"profile.json": '{"rows": 1}', "fingerprints.parquet": b"PAR1"}
    directory = open_version(published(rewritten(evaluated.directory, tmp_path / "profiled", known)).uri)
    assert (directory / "profile.json").read_text() == '{"rows": 1}'
    assert (directory / "fingerprints.parquet").read_bytes() == b"PAR1"


def test_old_versions_are_deleted_after_publishing(published, evaluation, exported, store, tmp_path: Path) -> None:
    results = [published()]
    for number in range(3):
        champion = {"version": results[-1].version, "uri": results[-1].uri, "matthews_correlation": 0.5}
        model = rewritten(exported.int8, tmp_path / f"model {number}", {"export.json": f'{{"a": {number}}}'})
        results.append(published(evaluation(f"compared {number}", champion=champion), model, keep=2))
    assert store.versions() == sorted(result.version for result in results[-2:])


def test_retention_that_fails_does_not_undo_the_promotion(published, store: ModelStore, capsys) -> None:
    store.store.write(f"versions/{'0' * 16}/manifest.json", b"{}")
    result = published(keep=1)
    assert (store.champion() or {})["version"] == result.version
    assert "warning: old versions could not be deleted" in capsys.readouterr().out
