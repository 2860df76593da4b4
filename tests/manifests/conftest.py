"""The rendered manifests; without kubectl these tests are skipped, but fail in CI."""

import os

import pytest
import validate


@pytest.fixture(scope="session")
def schemas() -> validate.Schemas:
    """The schemas of every kind."""
    return validate.Schemas.load()


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[validate.Object]]:
    """The objects of base, of every overlay and of what is applied once per cluster, by directory name."""
    try:
        validate.kubectl()
    except validate.RenderError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    return {directory.name: validate.render(directory) for directory in validate.targets()}
