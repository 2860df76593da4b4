"""The content hash of what goes into the images, and where the checkout is."""

import hashlib
from pathlib import Path

from kfp_textclf import components, pipelines

COMPONENTS = Path(components.__path__[0])
PIPELINES = Path(pipelines.__path__[0])
SOURCE_SUFFIXES = (".py", ".j2")


def content_hash() -> str:
    """Return 16 hexadecimal digits that change with any source of the stages, or with a pinned dependency.

    As the tag of the images that a checkout runs in, they make KFP's cache see a changed stage: it goes by the image's
    name.
    """
    digest = hashlib.sha256()
    files = sorted(path for path in COMPONENTS.rglob("*") if path.suffix in SOURCE_SUFFIXES)
    constraints = COMPONENTS.parent / "constraints.txt"
    for path in [*files, *([constraints] if constraints.is_file() else [])]:
        digest.update(f"{path.relative_to(COMPONENTS.parent).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
