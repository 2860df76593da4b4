"""The look at everything that a run needs."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support import md5

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.object_store import open_store
from kfp_textclf.components.preflight import surroundings
from kfp_textclf.components.preflight.stage import preflight

TEXT = b"flight,book a flight\n"


def pin(store: str, *names: str) -> dict[str, Any]:
    """Return a pin of files of the same content below a store."""
    files = [{"path": n, "md5": md5(TEXT), "size": float(len(TEXT)), "uri": f"{store}/{n}"} for n in names]
    return {"store": store, "git_rev": "", "files": files}


@pytest.fixture
def data(tmp_path: Path) -> str:
    """A store with one file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_bytes(TEXT)
    return (tmp_path / "data").as_uri()


def test_what_is_right_leaves_nothing_behind(data: str, tiny_model: Path, tmp_path: Path) -> None:
    places: dict[str, Any] = {
        "publish_to": (tmp_path / "store").as_uri(),
        "checkpoint_uri": (tmp_path / "checkpoints").as_uri(),
    }
    assert preflight(pin(data, "train.csv"), base_model=tiny_model.as_uri(), **places).notes == []
    for name in ("store", "checkpoints"):
        assert not [path for path in (tmp_path / name).rglob("*") if path.name != ".lock"]


def test_every_problem_is_named_at_once(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data" / "other.csv").write_bytes(TEXT * 2)
    with pytest.raises(UserError) as raised:
        preflight(
            pin(data, "train.csv", "absent.csv", "other.csv"),
            base_model="file:///no/model",
            publish_to=(tmp_path / "file" / "store").as_uri(),
            champion_uri=(tmp_path / "none").as_uri(),
            checkpoint_uri="ftp://x",
        )
    message = str(raised.value)
    parts = ("absent.csv: ", "does not exist", "other.csv: ", "holds other bytes", "/no/model holds no config.json")
    for part in (*parts, "publish_to=file://", "cannot be written", "champion_uri=", "checkpoint_uri='ftp://x'"):
        assert part in message
    assert "train.csv: " not in message
    assert capsys.readouterr().out.count("problem: ") == 6


def test_champion_to_beat_is_that_of_the_store_when_the_run_begins(data: str, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a model")
    models = ModelStore.open((tmp_path / "store").as_uri())
    other = ModelStore.open((tmp_path / "other").as_uri())

    def found(champion_uri: str) -> str:
        places: dict[str, Any] = {
            "base_model": tiny_model.as_uri(),
            "publish_to": models.store.uri,
            "champion_uri": champion_uri,
        }
        return preflight(pin(data, "train.csv"), **places).champion

    assert [found(""), found("none")] == ["", ""]
    versions = [store.add({"model.onnx": tmp_path / "model.onnx"}, "test") for store in (models, other)]
    for store, version in zip((models, other), versions, strict=True):
        store.promote(version, "", {})
    assert [found(""), found("none")] == [models.uri_of(versions[0]), ""]
    theirs = other.uri_of(versions[1])
    assert [found(other.store.uri), found(theirs)] == [theirs, theirs]
    with pytest.raises(UserError, match=r"champion_uri=.*neither a published version nor a store with a champion"):
        found(f"{theirs[:-16]}{'0' * 16}")


@pytest.mark.parametrize("bad", [{}, {"files": []}, {"files": [{"path": "../x", "md5": "0" * 32, "size": 1}]}])
def test_malformed_pin_does_not_hide_the_rest(bad: dict, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dataset_pin: .*holds no config\.json"):
        preflight(bad, base_model="file:///no/model", publish_to=tmp_path.as_uri())


@pytest.mark.parametrize("model", ["hf://a/b", "hf://a/b@main", "ftp://x/y", "package://no_such_package"])
def test_malformed_base_model(model: str, data: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^base_model"):
        preflight(pin(data, "train.csv"), base_model=model, publish_to=(tmp_path / "store").as_uri())


@pytest.mark.s3
def test_s3(s3_uri: str, tiny_model: Path, tmp_path: Path) -> None:
    store = open_store(s3_uri)
    store.write("data/train.csv", TEXT)
    store.write("data/empty.csv", b"")
    for file in tiny_model.iterdir():
        store.upload(file, f"model/{file.name}")
    good = pin(f"{s3_uri}/data", "train.csv", "empty.csv")
    good["files"][1] |= {"md5": md5(b""), "size": 0}
    assert preflight(good, base_model=f"{s3_uri}/model", publish_to=f"{s3_uri}/models").notes == []
    assert list(store.keys("models")) == []
    with pytest.raises(UserError) as raised:
        preflight(pin(f"{s3_uri}/data", "absent.csv"), base_model=f"{s3_uri}/other", publish_to=f"{s3_uri}/models")
    for part in ("absent.csv: ", "does not exist", "holds no config.json"):
        assert part in str(raised.value)


@contextmanager
def answering(status: int, content: Any) -> Iterator[str]:
    """Run a server that gives one answer to everything; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "content", "part"),
    [
        (200, {"data": {"viewer": {"username": "me"}}}, ""),
        (200, {"data": {"viewer": None}}, "does not know it"),
        (401, {}, "does not know it"),
        (500, {}, "cannot be asked"),
        (200, [], "cannot be asked"),
    ],
)
def test_wandb_key(monkeypatch: pytest.MonkeyPatch, status: int, content: Any, part: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with answering(status, content) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        note = surroundings.wandb_note()
    assert part in note
    assert bool(note) == bool(part)
    assert "0123456789" not in note


def test_wandb_key_is_shown_to_no_server_but_that_of_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(surroundings, "_asked", lambda request: asked.append(request.full_url) or {})
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    for mode in ("", "run", "offline", "dryrun", "disabled"):
        monkeypatch.setenv("WANDB_MODE", mode)
        surroundings.wandb_note()
    urls = pytest.importorskip("wandb.sdk.lib.urls")
    assert asked == [f"{urls.DEFAULT_BASE_URL}/graphql"] * 2  # by default, and by the older name of online


def test_malformed_wandb_key_is_a_note_and_none_is_none(
    data: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "not a key")
    arguments: dict[str, Any] = {"base_model": tiny_model.as_uri(), "publish_to": (tmp_path / "store").as_uri()}
    (note,) = preflight(pin(data, "train.csv"), **arguments).notes
    assert "WANDB_API_KEY" in note
    monkeypatch.delenv("WANDB_API_KEY")
    assert surroundings.wandb_note() == ""


def test_gpu_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A node list that may be read, one that is empty, one that is refused; nothing is asked outside a cluster."""
    selector = {"pool": "gpu"}
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert surroundings.gpu_pool_note(selector, tmp_path) == ""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    assert surroundings.gpu_pool_note(selector, tmp_path) == "", "no service account"
    (tmp_path / "token").write_text("secret")
    answers: list[Any] = [{"items": [{}]}, {"items": []}, OSError("403 Forbidden")]

    def asked(request: Any, context: Any) -> Any:
        assert request.headers["Authorization"] == "Bearer secret"
        assert request.full_url.endswith("/api/v1/nodes?limit=1&labelSelector=pool%3Dgpu")
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(surroundings, "_asked", asked)
    monkeypatch.setattr(surroundings.ssl, "create_default_context", lambda cafile: None)
    assert surroundings.gpu_pool_note(selector, tmp_path) == ""
    assert "no node has it now" in surroundings.gpu_pool_note(selector, tmp_path)
    assert "cannot be seen from here (403" in surroundings.gpu_pool_note(selector, tmp_path)
    assert surroundings.gpu_pool_note({}, tmp_path) == ""
