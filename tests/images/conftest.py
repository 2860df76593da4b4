"""The container engine and the images of this checkout; without them these tests are skipped, but fail in CI."""

import json
import os
from typing import Any, NoReturn

import docker
import docker.errors
import pytest

from kfp_textclf.pipelines.sources import current_images


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """A client of the container engine."""
    try:
        return docker.from_env()
    except docker.errors.DockerException as error:
        _unavailable(f"no container engine: {error}")


@pytest.fixture(scope="session")
def built(engine: docker.DockerClient) -> dict[str, str]:
    """The name of each image, by target."""
    names = current_images()
    for name in names.values():
        try:
            engine.images.get(name)
        except docker.errors.ImageNotFound:
            _unavailable(f"{name}: not built; run `make images`")
    return names


@pytest.fixture(scope="session")
def inside(engine: docker.DockerClient, built: dict[str, str]):
    """Run Python code in an image as a step runs, and return the JSON that it prints."""

    def run(target: str, code: str, user: str | None = None) -> Any:
        output = engine.containers.run(
            built[target],
            ["python3", "-c", code],
            user=user,
            read_only=True,
            tmpfs={"/tmp": "mode=1777"},
            network_mode="none",
            security_opt=["no-new-privileges"],
            remove=True,
        )
        return json.loads(output.decode().splitlines()[-1])

    return run
