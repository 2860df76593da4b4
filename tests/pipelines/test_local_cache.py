"""Steps that ran before are used again only while every byte of what they left is what they left."""

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import artifact, md5, read

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.local_cache import VerifiedCache

STEPS = {  # step: the artifacts it leaves
    "ingest-dataset": {"raw"},
    "prepare-dataset": {"dataset"},
    "compare-dataset": {"comparison"},
    "train-classifier": {"model"},
    "export-onnx": {"onnx", "onnx_int8"},
    "evaluate-model": {"evaluation"},
}


def change_a_byte(directory: Path) -> tuple[Path, bytes]:
    """Damage the largest file of an artifact; return the file and what it held."""
    file = max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    whole = file.read_bytes()
    position = len(whole) // 2
    file.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    return file, whole


def test_no_damaged_artifact_is_taken_from_the_cache(project: SimpleNamespace):
    """One byte of one file of each artifact that a cached step left: no other step would notice some of them."""
    command = ("run", "--set", "train.epochs=1", "--set", "evaluate.floor=-1")
    first = project.run(*command)
    assert first.code == 0, first.err
    published = read(project.runs / "latest" / "metrics.json")["published"]
    directories = {file.parent for file in (project.runs / "artifacts").rglob("manifest.json")}
    cached = {directory.name: directory for directory in directories if directory.parent.name in STEPS}
    assert {(directory.parent.name, name) for name, directory in cached.items()} == {
        (step, name) for step, names in STEPS.items() for name in names
    }
    cache = VerifiedCache(str(project.runs / "artifacts" / ".cache"))
    keys = [entry.stem for entry in Path(cache.cache_root).glob("*.json")]
    assert len(keys) == len(STEPS)
    assert all(cache.get(key) for key in keys)
    for name, directory in cached.items():
        damaged, whole = change_a_byte(directory)
        expected = read(directory / "manifest.json")["files"][damaged.relative_to(directory).as_posix()]
        pinned = expected.get("md5") or expected["sha256"]
        line = rf"{re.escape(str(damaged))}: differs from its manifest; delete .* and run again \(it is .*{pinned}.*\)"
        with pytest.raises(UserError, match=line):
            [cache.get(key) for key in keys]
        if name in ("raw", "model"):  # which no later step reads when all are cached
            refused = project.run(*command)
            assert refused.code == 2, (name, refused.err)
            assert re.search(line, refused.err.strip().splitlines()[-1])
            assert "Traceback" not in refused.err
            if name == "raw":
                assert all(f"md5 {md5(content)}" in refused.err for content in (whole, damaged.read_bytes()))
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
