"""Steps that ran before are used again only while every byte of what they left is what they left."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import artifact, md5, read

from kfp_textclf.components.common.errors import UserError

STEPS = {  # step: the artifacts it leaves
    "ingest-dataset": {"raw"},
    "prepare-dataset": {"dataset"},
    "compare-dataset": {"comparison"},
    "train-classifier": {"model"},
    "export-onnx": {"onnx", "onnx_int8"},
    "evaluate-model": {"evaluation"},
}


def test_no_damaged_artifact_is_taken_from_the_cache(project: SimpleNamespace):
    """One byte of one file of each artifact that a cached step left, in a run that would use all of them."""
    command = ("run", "--set", "train.epochs=1", "--set", "evaluate.floor=-1")
    first = project.run(*command)
    assert first.code == 0, first.err
    published = read(project.runs / "latest" / "metrics.json")["published"]
    directories = {file.parent for file in (project.runs / "artifacts").rglob("manifest.json")}
    cached = {directory.name: directory for directory in directories if directory.parent.name in STEPS}
    assert {(directory.parent.name, name) for name, directory in cached.items()} == {
        (step, name) for step, names in STEPS.items() for name in names
    }
    for name, directory in cached.items():
        damaged = max((file for file in directory.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
        whole = damaged.read_bytes()
        expected = read(directory / "manifest.json")["files"][damaged.relative_to(directory).as_posix()]
        position = len(whole) // 2
        damaged.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])

        refused = project.run(*command)
        last = refused.err.strip().splitlines()[-1]
        assert refused.code == 2, (name, refused.err)
        assert re.search(rf"{re.escape(str(damaged))}: differs from its manifest; delete .* and run again", last), name
        assert expected.get("md5", expected.get("sha256")) in last
        assert "Traceback" not in refused.err
        if name == "raw":
            assert f"md5 {md5(whole)}" in last
            assert f"md5 {md5(damaged.read_bytes())}" in last
        damaged.write_bytes(whole)

    shutil.rmtree(cached["dataset"])  # as the message says
    again = project.run(*command)
    assert again.code == 0, again.err
    metrics = read(project.runs / "latest" / "metrics.json")
    states = {step["name"]: step["cached"] for step in metrics["steps"]}
    assert states["ingest-dataset"]
    assert not states["prepare-dataset"]
    assert metrics["published"] == published


@pytest.mark.parametrize("damage", ["byte", "missing file", "missing manifest", "missing artifact"])
def test_lists_of_artifacts_are_verified_too(tmp_path: Path, damage: str):
    """What a loop collects is an output of many artifacts."""
    from kfp import dsl

    from kfp_textclf.pipelines.local_cache import VerifiedCache

    models = [artifact(tmp_path / name, {"model.bin": name}) for name in ("first", "second")]
    report = tmp_path / "report"
    report.write_text("<p>")
    outputs = {
        "models": [dsl.Model(uri=str(model)) for model in models],
        "report": dsl.HTML(uri=str(report)),
        "count": 2,
        "names": ["first", "second"],
        "none": [],
    }
    cache = VerifiedCache(str(tmp_path / "cache"))
    assert cache.get("key") is None
    cache.put("key", outputs)
    found = cache.get("key")
    assert found
    assert [model.path for model in found["models"]] == [str(model) for model in models]
    assert (found["count"], found["names"], found["none"]) == (2, ["first", "second"], [])
    if damage == "missing artifact":
        shutil.rmtree(models[1])
        assert cache.get("key") is None
        return
    if damage == "byte":
        (models[1] / "model.bin").write_text("sec0nd")
    else:
        (models[1] / ("manifest.json" if damage == "missing manifest" else "model.bin")).unlink()
    with pytest.raises(UserError, match=str(models[1])):
        cache.get("key")
