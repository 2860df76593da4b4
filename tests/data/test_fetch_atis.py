"""``data/fetch_atis.py`` against real DVC, a real git checkout and a real local web server."""

import configparser
import os
import runpy
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from atis_checkout import (
    FILES,
    FULL,
    ROOT,
    SCRIPT,
    TEST,
    TRAIN,
    assert_complete,
    assert_refused,
    csv_files,
    dvc,
    execute,
    git,
    md5_of,
    object_path,
)

REMOTE_KINDS = ["directory", "name", "url"]
Fetch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_remote_brings_all_files_and_changes_nothing_else(
    kind: str, fetch: Fetch, checkout: Path, store: Path, remote_argument: Callable[[str, Path], str]
) -> None:
    before = {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in store.rglob("*")}
    done = fetch("--remote", remote_argument(kind, store))
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 of 3 files" in done.stdout
    assert_complete(checkout)
    assert {path: (path.stat().st_mode, path.stat().st_mtime_ns) for path in store.rglob("*")} == before


@pytest.mark.parametrize("mode", [0o444, 0o644], ids=["read-only", "writable"])
@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_tampered_remote_is_refused_and_left_as_it_is(
    kind: str,
    mode: int,
    fetch: Fetch,
    checkout: Path,
    store: Path,
    remote_argument: Callable[[str, Path], str],
) -> None:
    damaged = object_path(store, TRAIN)
    damaged.chmod(0o644)
    damaged.write_bytes(TRAIN.replace(b"want", b"hate"))
    damaged.chmod(mode)
    done = fetch("--remote", remote_argument(kind, store))
    assert_refused(done, "atis_intents_train.csv.dvc pins", md5_of(TRAIN), "--remote")
    assert csv_files(checkout) == {}
    assert stat.S_IMODE(damaged.stat().st_mode) == mode
    assert not (checkout / ".dvc" / "cache").exists()


@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_remote_without_the_object_is_refused(
    kind: str, fetch: Fetch, checkout: Path, store: Path, remote_argument: Callable[[str, Path], str]
) -> None:
    object_path(store, TRAIN).unlink()
    done = fetch("--remote", remote_argument(kind, store))
    assert_refused(done, object_path(Path(), TRAIN).as_posix(), "repair" if kind != "url" else "404")
    assert csv_files(checkout) == {}


@pytest.mark.parametrize(
    ("remote", "reason"),
    [
        ("../nowhere", "neither a directory nor a DVC remote (org)"),
        ("nosuch", "neither a directory nor a DVC remote (org)"),
        ("org", "dvc remote modify org url"),
        ("nosuch://bucket/prefix", "nosuch://"),
    ],
)
def test_unknown_remote_is_refused(remote: str, reason: str, fetch: Fetch, checkout: Path) -> None:
    assert_refused(fetch("--remote", remote), reason)
    assert csv_files(checkout) == {}


def test_relative_directory_counts_from_the_working_directory(checkout: Path, store: Path) -> None:
    done = execute(store.parent, sys.executable, str(checkout / "data" / "fetch_atis.py"), "--remote", store.name)
    assert (done.returncode, done.stderr) == (0, "")
    assert_complete(checkout)


def test_unreachable_url_is_refused(fetch: Fetch, checkout: Path, dead_url: str) -> None:
    assert_refused(fetch("--remote", dead_url), dead_url, "download failed", "check the network")
    assert csv_files(checkout) == {}


def test_origin_brings_two_files_and_derives_the_third(
    fetch: Fetch, checkout: Path, mirror: Path, serve: Callable[[Path], str]
) -> None:
    done = fetch(KFP_TEXTCLF_ATIS_MIRROR=serve(mirror))
    assert (done.returncode, done.stderr) == (0, "")
    assert_complete(checkout)
    assert object_path(checkout / ".dvc" / "cache", TRAIN).read_bytes() == TRAIN


@pytest.mark.parametrize("name", ["atis_intents.csv", "atis_intents_test.csv"])
@pytest.mark.parametrize("content", [b"atis_flight, other\n", b"", TEST * 4000], ids=["other", "empty", "too-long"])
def test_origin_with_wrong_bytes_is_refused(
    name: str, content: bytes, fetch: Fetch, checkout: Path, mirror: Path, serve: Callable[[Path], str]
) -> None:
    (mirror / name).write_bytes(content)
    url = serve(mirror)
    assert_refused(fetch(KFP_TEXTCLF_ATIS_MIRROR=url), f"{url}/{name}: md5 ", md5_of(FILES[name]), "--remote")
    assert csv_files(checkout) == {}


def test_origin_without_the_file_is_refused(
    fetch: Fetch, checkout: Path, mirror: Path, serve: Callable[[Path], str]
) -> None:
    (mirror / "atis_intents_test.csv").unlink()
    assert_refused(fetch(KFP_TEXTCLF_ATIS_MIRROR=serve(mirror)), "/atis_intents_test.csv: download failed", "404")
    assert csv_files(checkout) == {}


@pytest.mark.parametrize("url", ["", "no-url", "nosuch://host"], ids=["unreachable", "no-url", "no-such-scheme"])
def test_unusable_origin_is_refused(url: str, fetch: Fetch, checkout: Path, dead_url: str) -> None:
    assert_refused(fetch(KFP_TEXTCLF_ATIS_MIRROR=url or dead_url), url or dead_url, "download failed", "--remote")
    assert csv_files(checkout) == {}


def test_derived_file_that_misses_its_pin_is_refused(
    fetch: Fetch, checkout: Path, mirror: Path, serve: Callable[[Path], str]
) -> None:
    pin = checkout / "data" / "atis" / "atis_intents_train.csv.dvc"
    pin.write_text(pin.read_text(encoding="utf-8").replace(md5_of(TRAIN), "0" * 32), encoding="utf-8")
    assert_refused(fetch(KFP_TEXTCLF_ATIS_MIRROR=serve(mirror)), "train rows of atis_intents.csv", "0" * 32)
    assert csv_files(checkout) == {}


def test_second_run_needs_neither_network_nor_dvc(
    fetch: Fetch, checkout: Path, store: Path, dead_url: str, tmp_path: Path
) -> None:
    assert fetch("--remote", str(store)).returncode == 0
    (tmp_path / "dvc.py").write_text("raise SystemExit('dvc was called')\n", encoding="utf-8")
    for args in ((), ("--remote", ""), ("--remote", "nosuch")):
        done = fetch(*args, KFP_TEXTCLF_ATIS_MIRROR=dead_url, PYTHONPATH=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert "all files are there" in done.stdout
    assert_complete(checkout)


def test_only_the_absent_file_is_made(fetch: Fetch, checkout: Path, store: Path, dead_url: str) -> None:
    assert fetch("--remote", str(store)).returncode == 0
    (checkout / "data" / "atis" / "atis_intents_train.csv").unlink()
    done = fetch(KFP_TEXTCLF_ATIS_MIRROR=dead_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 of 3 files" in done.stdout
    assert_complete(checkout)


@pytest.mark.parametrize("name", list(FILES))
def test_local_file_with_other_content_is_never_overwritten(
    name: str, fetch: Fetch, checkout: Path, store: Path
) -> None:
    (checkout / "data" / "atis" / name).write_bytes(b"atis_flight, mine\n")
    assert_refused(fetch("--remote", str(store)), f"data/atis/{name}: md5 ", "move it away or delete it")
    assert csv_files(checkout) == {name: b"atis_flight, mine\n"}


def test_what_is_no_file_is_never_replaced(fetch: Fetch, checkout: Path, store: Path) -> None:
    link = checkout / "data" / "atis" / "atis_intents.csv"
    link.symlink_to("elsewhere")
    assert_refused(fetch("--remote", str(store)), "atis_intents.csv: no such file", "move it away")
    assert link.is_symlink()


@pytest.mark.parametrize("text", [None, "", "outs:\n- path: atis_intents.csv\n"], ids=["missing", "empty", "no-md5"])
def test_broken_pin_is_refused(text: str | None, fetch: Fetch, checkout: Path, store: Path) -> None:
    pin = checkout / "data" / "atis" / "atis_intents.csv.dvc"
    pin.unlink()
    if text is not None:
        pin.write_text(text, encoding="utf-8")
    assert_refused(fetch("--remote", str(store)), f"{pin}: missing, or no pin", "git checkout")


def test_damaged_object_in_the_cache_does_not_reach_the_files(fetch: Fetch, checkout: Path, store: Path) -> None:
    damaged = object_path(checkout / ".dvc" / "cache", TEST)
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged\n")
    damaged.chmod(0o444)
    assert fetch("--remote", str(store)).returncode == 0
    assert_complete(checkout)


def test_missing_dvc_is_one_line(fetch: Fetch, checkout: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "dvc.py").write_text("raise SystemExit('No module named dvc')\n", encoding="utf-8")
    done = fetch("--remote", str(store), PYTHONPATH=str(tmp_path))
    assert_refused(done, "No module named dvc", "install DVC")
    assert csv_files(checkout) == {}


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = runpy.run_path(str(SCRIPT))
    pins = [script["Pin"](tmp_path / name, "", 0, "") for name in FILES]
    written: list[Path] = []

    def fail_on_the_third(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        with path.open("wb") as file:
            file.write(content)

    monkeypatch.setattr(Path, "write_bytes", fail_on_the_third)
    with pytest.raises(OSError, match="No space left"):
        script["place"](dict.fromkeys(pins, b"x"))
    assert len(written) == 3
    assert list(tmp_path.iterdir()) == []


def test_train_rows_are_the_rows_with_its_labels_in_order() -> None:
    derive_train = runpy.run_path(str(SCRIPT))["derive_train"]
    assert derive_train(FULL) == TRAIN
    assert derive_train(b"") == b""


def test_git_takes_pins_only(checkout: Path) -> None:
    for name in ("atis_intents.csv", "atis_intents.csv.orig", "mine.csv", ".fetch-x"):
        (checkout / "data" / "atis" / name).write_bytes(FULL)
    assert git(checkout, "status", "--porcelain") == ""


def test_every_configured_remote_verifies() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config", encoding="utf-8")
    remotes = [section for section in config.sections() if section.startswith("'remote ")]
    assert remotes
    assert [config.getboolean(section, "verify", fallback=False) for section in remotes] == [True] * len(remotes)


def test_real_files_from_a_real_remote(checkout: Path, fetch: Fetch) -> None:
    remote = os.environ.get("ATIS_DVC_REMOTE")
    if not remote:
        pytest.skip("ATIS_DVC_REMOTE names no DVC remote with the real files")
    folder = checkout / "data" / "atis"
    for name in FILES:
        shutil.copy(ROOT / "data" / "atis" / f"{name}.dvc", folder)
    git(checkout, "commit", "--quiet", "--all", "--message", "real pins")
    done = fetch("--remote", remote if "://" in remote else os.path.abspath(remote))
    assert (done.returncode, done.stderr) == (0, "")
    for name in FILES:
        assert f"md5: {md5_of((folder / name).read_bytes())}\n" in (folder / f"{name}.dvc").read_text(encoding="utf-8")
    assert dvc(checkout, "status") == "Data and pipelines are up to date."
    assert git(checkout, "status", "--porcelain") == ""
