"""Fixtures: a checkout with small files and pins of its own, and the sources that it may fetch from."""

import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from atis_checkout import FILES, ROOT, dvc, execute, git, md5_of, object_path


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of DVC, git and the HTTP client."""
    for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("KFP_TEXTCLF_ATIS_MIRROR", raising=False)
    for name in [name for name in os.environ if name.startswith("GIT_") and "CONFIG" not in name]:
        monkeypatch.delenv(name)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A committed checkout with the repository's own DVC settings and script, and pins of ``FILES``."""
    root = tmp_path / "checkout"
    (root / "data" / "atis").mkdir(parents=True)
    (root / ".dvc").mkdir()
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", "data/fetch_atis.py", "data/atis/.gitignore"):
        shutil.copy(ROOT / name, root / name)
    for name, content in FILES.items():
        pin = f"outs:\n- md5: {md5_of(content)}\n  size: {len(content)}\n  hash: md5\n  path: {name}\n"
        (root / "data" / "atis" / f"{name}.dvc").write_text(pin, encoding="utf-8")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "pins")
    return root


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A directory remote that holds ``FILES``, read-only as DVC writes it."""
    root = tmp_path / "store"
    for content in FILES.values():
        path = object_path(root, content)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o444)
    return root


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A folder with the two files that the public origin has."""
    root = tmp_path / "mirror"
    root.mkdir()
    for name in ("atis_intents.csv", "atis_intents_test.csv"):
        (root / name).write_bytes(FILES[name])
    return root


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve folders over HTTP on the loopback device; returns the base URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with contextlib.ExitStack() as stack:

        def start(folder: Path) -> str:
            handler = functools.partial(Quiet, directory=str(folder))
            server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture
def dead_url() -> str:
    """A URL on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def fetch(checkout: Path) -> "Callable[..., subprocess.CompletedProcess[str]]":
    """Run the script as ``make data`` does: from the root, by relative path."""
    return lambda *args, **env: execute(checkout, sys.executable, "data/fetch_atis.py", *args, **env)


@pytest.fixture
def remote_argument(checkout: Path, serve: Callable[[Path], str]) -> Callable[[str, Path], str]:
    """Turn a store into what ``--remote`` gets: a relative directory, a URL, or a name in the committed config."""

    def build(kind: str, folder: Path) -> str:
        if kind == "url":
            return serve(folder)
        if kind == "directory":
            return os.path.relpath(folder, checkout)
        dvc(checkout, "remote", "add", "--quiet", "mine", str(folder))
        git(checkout, "commit", "--quiet", "--all", "--message", "remote")
        return "mine"

    return build
