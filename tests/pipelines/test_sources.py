"""The hash of what goes into the images, and the names that follow from it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kfp_textclf.components import images
from kfp_textclf.components.images import ENVIRONMENT, TARGETS, image_name
from kfp_textclf.pipelines import sources
from kfp_textclf.pipelines.sources import CHECKOUT, content_hash, current_images, image_inputs


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of everything that the images are made from."""
    for path in image_inputs():
        copy = tmp_path / path.relative_to(CHECKOUT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return tmp_path


def test_the_hash_changes_with_every_input(checkout: Path):
    hashes = [content_hash(checkout=checkout)]
    assert hashes == [content_hash()]
    for path in image_inputs(checkout):
        content = path.read_bytes()
        path.write_bytes(content + b"\n")
        hashes.append(content_hash(checkout=checkout))
        path.write_bytes(content)
    moved = checkout / "components" / "common" / "moved.py"
    (checkout / "components" / "images.py").rename(moved)
    hashes.append(content_hash(checkout=checkout))
    moved.unlink()
    hashes += [content_hash(checkout=checkout), content_hash({"BASE_IMAGE": "other"}, checkout)]
    assert len(set(hashes)) == len(hashes)


def test_the_hash_ignores_what_no_image_holds(checkout: Path):
    before = content_hash(checkout=checkout)
    for name in ("components/train/README.md", "components/train/component.yaml", "pipelines/cli.py", "README.md"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("changed", encoding="utf-8")
    assert content_hash(checkout=checkout) == before


def test_everything_that_the_dockerfile_copies_is_an_input():
    dockerfile = (CHECKOUT / "images" / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
    names = {path.relative_to(CHECKOUT).as_posix() for path in image_inputs()}
    for source in " ".join(copied).split():
        assert source == "components" or source in names
    assert {"images/Dockerfile", ".dockerignore"} < names


def test_a_checkout_names_images_by_its_content_unless_it_recorded_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    record = tmp_path / "images.json"
    monkeypatch.setattr(sources, "RECORD", record)
    default = {target: image_name(target, content_hash()) for target in TARGETS}
    assert current_images() == default
    pushed = {target: f"registry.example/kfp-textclf-{target}@sha256:{'0' * 64}" for target in TARGETS}
    build_arguments = {"BASE_IMAGE": "other"}
    built = {"content_hash": content_hash(build_arguments), "build_arguments": build_arguments, "images": pushed}
    record.write_text(json.dumps(built), encoding="utf-8")
    assert current_images() == pushed
    monkeypatch.setenv(ENVIRONMENT, json.dumps(current_images()))
    assert pushed["export"] == images.EXPORT
    monkeypatch.delenv(ENVIRONMENT)
    assert image_name("export") == images.EXPORT
    record.write_text(json.dumps({**built, "content_hash": "of older content"}), encoding="utf-8")
    assert current_images() == default
    monkeypatch.setattr(sources, "CHECKOUT", tmp_path)
    assert current_images() == {target: image_name(target) for target in TARGETS}


def test_pipelines_can_be_compiled_for_the_images_of_the_checkout(tmp_path: Path):
    command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", "compile", "--to", str(tmp_path / "build")]
    subprocess.run(command, check=True)
    compiled = (tmp_path / "build" / "training.yaml").read_text(encoding="utf-8")
    names = current_images()
    assert set(re.findall(r"^ +image: (\S+)$", compiled, re.MULTILINE)) == {names[t] for t in ("cpu", "export", "gpu")}
