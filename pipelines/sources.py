"""What goes into the images, the hash of that, and the images' names that follow from it."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from kfp_textclf import components, pipelines
from kfp_textclf.components.images import ENVIRONMENT, TARGETS, image_name

COMPONENTS = Path(components.__path__[0])
PIPELINES = Path(pipelines.__path__[0])
CHECKOUT = COMPONENTS.parent  # when there is one: see in_checkout
RECORD = CHECKOUT / "build" / "images.json"
_FILES = (".dockerignore", "LICENSE", "constraints.txt", "images/Dockerfile", "images/install", "pyproject.toml")
_LEFT_OUT = (".md", ".yaml", ".pyc")  # by .dockerignore: steps need none of them


def in_checkout() -> bool:
    """Return whether this is a checkout, which images can be built from, and not an installed wheel."""
    return (CHECKOUT / "images" / "Dockerfile").is_file()


def image_inputs(checkout: Path = CHECKOUT) -> list[Path]:
    """Return every file that an image is made from."""
    code = (path for path in (checkout / "components").rglob("*") if path.is_file() and path.suffix not in _LEFT_OUT)
    return sorted([*(checkout / name for name in _FILES), *code])


def content_hash(build_arguments: Mapping[str, str] | None = None, checkout: Path = CHECKOUT) -> str:
    """Return 16 hexadecimal digits that change with every input of the images.

    As the tag of the images they make KFP's cache, which goes by the image's name, see a changed stage.

    Args:
        build_arguments: Arguments of the image build that differ from the Dockerfile's own.
        checkout: The checkout.
    """
    digest = hashlib.sha256(json.dumps(sorted((build_arguments or {}).items())).encode())
    for path in image_inputs(checkout):
        digest.update(f"{path.relative_to(checkout).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def current_images() -> dict[str, str]:
    """Return the name of every image: the release's, or in a checkout those built from its present content."""
    if not in_checkout():
        return {target: image_name(target) for target in TARGETS}
    if RECORD.is_file():
        built = json.loads(RECORD.read_text(encoding="utf-8"))
        if built["content_hash"] == content_hash(built["build_arguments"]):
            return built["images"]
    tag = content_hash()
    return {target: image_name(target, tag) for target in TARGETS}


def use_current_images() -> None:
    """Let components that are imported from now on, here and in child processes, name the current images."""
    os.environ[ENVIRONMENT] = json.dumps(current_images())
