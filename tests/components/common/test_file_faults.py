"""Models in a directory: publishers that are killed at any moment, full and read-only disks."""

import fcntl
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.object_store import ABSENT, open_store
from kfp_textclf.components.common.published import open_version

METRICS = {"matthews_correlation": 0.75}
CHANGES = ("open", "os.", "shutil.", "tempfile.", "fcntl.")  # audit events of work on files


def model_files(directory: Path, name: str) -> dict[str, Path]:
    """Write the files of a model whose content is its name."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.onnx").write_bytes(name.encode() * 20_000)
    (directory / "config.json").write_text("{}")
    return {file: directory / file for file in ("model.onnx", "config.json")}


def publish(uri: str, files: dict[str, Path], expected: str) -> str:
    """Publish a model as the next champion."""
    store = ModelStore.open(uri)
    version = store.add(files, "test")
    store.promote(version, expected, METRICS)
    return store.uri_of(version)


def publish_and_die(uri: str, files: dict[str, Path], expected: str, moment: int) -> None:
    """Publish, and be killed right before the n-th piece of work on files; exit with 0 when there are fewer."""
    left = moment

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        left -= event.startswith(CHANGES)
        if left < 0:
            left = 1 << 30  # to be killed is an event too
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    publish(uri, files, expected)
    os._exit(0)


def in_process(act: Callable[..., object], *arguments: object) -> int | None:
    """Run a function in a process of its own; return how that ended."""
    process = multiprocessing.get_context("forkserver").Process(target=act, args=arguments)
    process.start()
    process.join(120)
    return process.exitcode


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """A store in a directory."""
    return (tmp_path / "a store").as_uri()


def test_publisher_killed_at_any_moment_leaves_a_whole_store(tmp_path: Path, uri: str) -> None:
    """Readers see the old champion or the new one, a repetition completes it, and no dead one's lock is waited for."""
    champion, old = publish(uri, model_files(tmp_path / "first", "first"), ""), "first"
    moments, killed, seen = range(0, 120, 9), 0, set()
    for moment in moments:
        name = f"model {moment}"
        files = model_files(tmp_path / name, name)
        ended = in_process(publish_and_die, uri, files, champion, moment)
        assert ended in (0, -signal.SIGKILL)
        killed += ended != 0
        content = (open_version(uri) / "model.onnx").read_bytes()
        assert content in (name.encode() * 20_000, old.encode() * 20_000)
        seen.add((content.startswith(name.encode()), ended))
        for version in ModelStore.open(uri).versions():
            ModelStore.open(uri).verify(version)
        champion, old = publish(uri, files, champion), name
        assert (open_version(uri) / "model.onnx").read_bytes() == name.encode() * 20_000
    assert killed > len(moments) / 2
    assert {(False, -signal.SIGKILL), (True, 0)} <= seen


def fill_disk_and_publish(uri: str, files: dict[str, Path], expected: str, limit: int) -> None:
    """Publish where files cannot grow beyond a limit; exit with 2 when that ends in one line."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        publish(uri, files, expected)
    except UserError as error:
        os._exit(2 if re.search("File too large; check the rights|; make room for temporary", str(error)) else 1)
    os._exit(0)


@pytest.mark.parametrize("limit", [0, 1000, 59_999])
def test_full_disk_is_one_line_and_leaves_the_champion(tmp_path: Path, uri: str, limit: int) -> None:
    champion = publish(uri, model_files(tmp_path / "old", "old"), "")
    files = model_files(tmp_path / "new", "new")
    before = sorted((tmp_path / "a store").rglob("*"))
    assert in_process(fill_disk_and_publish, uri, files, champion, limit) == 2
    assert (open_version(uri) / "model.onnx").read_bytes() == b"old" * 20_000
    assert [path for path in before if not path.exists()] == []
    left = {path.name for path in set((tmp_path / "a store").rglob("*")) - set(before) if path.is_file()}
    assert left <= {"config.json"}  # whole, and no part of a version without a manifest
    publish(uri, files, champion)
    assert (open_version(uri) / "model.onnx").read_bytes() == b"new" * 20_000


def publish_as_nobody(uri: str, directory: Path) -> None:
    """Publish without the right to write, but to read; exit with 2 when that ends in one line."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    store = ModelStore.open(uri)
    try:
        if (open_version(uri) / "model.onnx").read_bytes() == b"old" * 20_000:
            store.add(model_files(directory / "new", "new"), "test")
    except UserError as error:
        os._exit(2 if "Permission denied; check the rights and the free space there" in str(error) else 1)
    os._exit(0)


def test_read_only_store_is_one_line() -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        uri = (directory / "store").as_uri()
        publish(uri, model_files(directory / "old", "old"), "")
        for path in [directory, *directory.rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        try:
            with tempfile.TemporaryDirectory() as elsewhere:
                os.chmod(elsewhere, 0o777)
                assert in_process(publish_as_nobody, uri, Path(elsewhere)) == 2
            assert (open_version(uri) / "model.onnx").read_bytes() == b"old" * 20_000
        finally:
            for path in [directory, *directory.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)


def hold_lock_and_die(root: str, ready: Any) -> None:
    """Lock a store as a writer does, and be killed with the lock held."""
    with open(f"{root}/.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ready.set()
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)


def test_lock_of_a_dead_writer_is_free(tmp_path: Path) -> None:
    """A living one is waited for."""
    store = open_store(tmp_path.as_uri())
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    process = context.Process(target=hold_lock_and_die, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    store.write("a", b"1", expected=ABSENT)
    process.join()
    assert store.read("a") is not None
