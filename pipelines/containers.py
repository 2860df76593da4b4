"""Steps in containers: what ``kfp.local.DockerRunner`` is given, and how one container is run to its end.

    python -m kfp_textclf.pipelines.containers RUN       removes what a run that was killed left running

A step is given what its own parameters name: the network when one of them is a remote URI, and otherwise none; the
local files and directories among them, read-only, except where it publishes to or keeps checkpoints; the environment
for S3 when one of them is an ``s3://`` URI. That environment is never written down here, neither in logs nor in job
files.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kfp_textclf.components import images
from kfp_textclf.components.common.base_models import without_version
from kfp_textclf.components.common.dataset_pin import DatasetPin
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import local_path
from kfp_textclf.components.common.tracking_environment import RUN_ENVIRONMENT, wanted_mode
from kfp_textclf.pipelines.sources import current_images

RUN_LABEL = "kfp-textclf.run"
WRITABLE = ("checkpoint_uri", "publish_to")
LOCAL_SCHEMES = ("file", "package")
# Set here, they are set in the containers too.
PASSED_ON = ("HF_ENDPOINT", "HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
TRACKING = (RUN_ENVIRONMENT, *(f"WANDB_{name}" for name in ("API_KEY", "BASE_URL", "DIR", "ENTITY", "MODE", "PROJECT")))
S3_ENVIRONMENT = ("AWS_", "KFP_TEXTCLF_S3_")
S3_FILES = ("AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")


def check_engine(memory: str) -> None:
    """Make sure that a container engine answers, has the images, and understands the memory limit.

    Raises:
        UserError: It does not.
    """
    import docker
    import docker.errors
    import docker.utils

    try:
        docker.utils.parse_bytes(memory)
    except docker.errors.DockerException as error:
        raise UserError(f"--memory {memory!r}: is not an amount such as 8g") from error
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        raise UserError(
            f"--runner docker: no container engine answers ({error}); start Docker, or run without it"
        ) from error
    for target in ("cpu", "export", "gpu"):
        name = current_images()[target]
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound as error:
            raise UserError(f"image {name}: is not here; build it with `make images`, or pull it") from error


def docker_runner(run: str, memory: str) -> Any:
    """Return the ``DockerRunner`` of a run, for ``kfp.local.init``.

    It runs containers by `run_container`. kfp's own function reports success when a container has already gone by the
    time that it is asked for its exit code, and has one setting of network and mounts for all steps.

    Args:
        run: The run, as a label of its containers.
        memory: The most that a step may use, such as ``8g``; what it writes to ``/tmp`` counts.
    """
    import docker
    from docker.types import DeviceRequest
    from kfp import local
    from kfp.local import docker_task_handler

    docker_task_handler.run_docker_container = run_container
    client = docker.from_env()
    has_gpu = "nvidia" in client.info().get("Runtimes", {})
    gpu = DeviceRequest(count=-1, capabilities=[["gpu"]])
    return local.DockerRunner(
        user=f"{os.getuid()}:{os.getgid()}",
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108  (inside the container)
        mem_limit=memory,
        shm_size="2g",
        security_opt=["no-new-privileges"],
        labels={RUN_LABEL: run},
        environment={name: os.environ[name] for name in (*PASSED_ON, *TRACKING) if name in os.environ},
        device_requests=[gpu] if has_gpu else [],
    )


def run_container(client: Any, image: str, command: list[str], volumes: dict[str, Any], **settings: Any) -> int:
    """Run one step in its container, printing its output line by line; return its exit code.

    A step that ends well without having written every output that it declares counts as failed.
    """
    from docker.types import Mount

    step = json.loads(command[command.index("--executor_input") + 1])
    parameters = step.get("inputs", {}).get("parameterValues", {})
    remote, mounts = access(parameters)
    remote = remote or wanted_mode()[0] == "online"
    if place := os.environ.get("WANDB_DIR", ""):
        mounts.append(Mount(place, place, type="bind"))
    s3 = s3_environment(parameters)
    if s3:
        settings["environment"] = {**(settings.get("environment") or {}), **s3}
        mounts += _mounted_files(s3)
    if image != images.GPU:
        settings["device_requests"] = []
    container = client.containers.run(
        image=image,
        command=command,
        volumes=volumes,
        mounts=mounts,
        network_mode=_network(remote, s3),
        detach=True,
        **settings,
    )
    try:
        for line in _lines(container.logs(stream=True)):
            print(line)
        code = container.wait()["StatusCode"]
        container.reload()
        if container.attrs["State"]["OOMKilled"]:
            short = f"the step needs more memory than {settings['mem_limit']}; allow more with --memory"
            print(f"{UserError.__module__}.{UserError.__name__}: {short}")
    finally:
        container.remove(force=True)
    missing = [path for path in declared_outputs(step) if not path.exists()]
    if code == 0 and missing:
        print(f"the step ended with exit code 0, but did not write {', '.join(map(str, missing))}")
        return 1
    return code


def access(parameters: Mapping[str, Any]) -> tuple[bool, list[Any]]:
    """Return whether a step with these parameters needs the network, and the mounts that it needs."""
    from docker.types import Mount

    remote, mounts = False, {}
    for name, uri in _uris(parameters):
        if uri.partition("://")[0] not in LOCAL_SCHEMES:
            remote = True
        elif uri.startswith("file://"):
            path = local_path(without_version(uri), name)
            if name in WRITABLE:
                _make_directory(path, name)
            if path.exists():  # otherwise the step says what is missing
                mounts[path] = Mount(str(path), str(path), type="bind", read_only=name not in WRITABLE)
    return remote, list(mounts.values())


def s3_environment(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment that a step with these parameters needs to reach S3; empty when none is an S3 URI."""
    if not any(uri.startswith("s3://") for _, uri in _uris(parameters)):
        return {}
    return {name: value for name, value in os.environ.items() if name.startswith(S3_ENVIRONMENT)}


def _network(remote: bool, s3: Mapping[str, str]) -> str:
    """Return the network mode; an endpoint on this machine itself is reached by its own network alone."""
    endpoint = s3.get("AWS_ENDPOINT_URL_S3") or s3.get("AWS_ENDPOINT_URL") or ""
    host = urlsplit(endpoint).hostname or ""
    if host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host):
        return "host"
    return "bridge" if remote else "none"


def _mounted_files(environment: Mapping[str, str]) -> list[Any]:
    from docker.types import Mount

    files = {environment[name] for name in S3_FILES if Path(environment.get(name, "")).is_file()}
    return [Mount(file, file, type="bind", read_only=True) for file in sorted(files) if file.startswith("/")]


def _uris(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if name == "dataset_pin":
            yield from ((name, file.uri) for file in DatasetPin.parse(value).files)
        elif isinstance(value, str) and "://" in value:
            yield name, value


def _make_directory(path: Path, name: str) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name}: {path} cannot be written ({error.strerror}); choose another place") from error


def declared_outputs(step: dict[str, Any]) -> list[Path]:
    """Return the files and directories that a step has to write, by kfp's executor input."""
    artifacts = step["outputs"].get("artifacts", {}).values()
    return [Path(artifact["uri"]) for listed in artifacts for artifact in listed["artifacts"]]


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def remove_containers(run: str) -> None:
    """Kill and remove the containers of a run."""
    import docker
    import docker.errors

    left = {"all": True, "filters": {"label": f"{RUN_LABEL}={run}"}, "ignore_removed": True}
    with contextlib.suppress(docker.errors.DockerException):  # an engine that is gone runs nothing
        for container in docker.from_env().containers.list(**left):
            with contextlib.suppress(docker.errors.APIError):  # it went by itself
                container.remove(force=True)


if __name__ == "__main__":
    remove_containers(sys.argv[1])
