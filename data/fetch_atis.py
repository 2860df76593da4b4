"""Put the three pinned ATIS files into ``data/atis``, from a DVC remote or from their public origin.

Whatever a source sends is compared with md5 and size of the ``.dvc`` files before it gets there: DVC does not do that.
"""

import argparse
import hashlib
import http.client
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

FULL, TEST, TRAIN = "atis_intents.csv", "atis_intents_test.csv", "atis_intents_train.csv"
ORIGIN = {  # file name -> base URL; it names a commit, so that the bytes cannot move
    FULL: "https://raw.githubusercontent.com/saurabhmishra608/NLP-Project/93777d5bfa527746b19434d44d74d489c0b978e4",
    TEST: "https://raw.githubusercontent.com/ShadabLeeway/ATIS-with-UI/7fd454e8fb3af8f66978e5ea8c6042be97eb4579",
}
MIRROR_ENV = "KFP_TEXTCLF_ATIS_MIRROR"  # one base URL for both files, in place of ORIGIN
TRAIN_TOPICS = "flight airfare ground_service airline abbreviation aircraft flight_time quantity"
TRAIN_LABELS = frozenset(f"atis_{topic}".encode() for topic in TRAIN_TOPICS.split())
PIN = re.compile(r"- md5: (?P<md5>[0-9a-f]{32})\n  size: (?P<size>\d+)\n  hash: md5\n  path: (?P<path>\S+)\n")
USE_OTHER = "or name another source: --remote NAME_OR_PATH (make data DVC_REMOTE=...)"


class DataError(Exception):
    """The one line a user reads: what is wrong, where, how to fix it."""


class Pin(NamedTuple):
    """A data file, what its ``.dvc`` file says about it, and the key of its object below a DVC remote or cache."""

    path: Path
    md5: str
    size: int
    key: str

    def check(self, content: bytes, where: object, fix: str) -> bytes:
        """Return ``content`` if it is the pinned one, else raise ``DataError`` with ``where`` and ``fix``."""
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if (md5, len(content)) != (self.md5, self.size):
            pinned = f"{self.path.name}.dvc pins {self.md5} ({self.size} bytes)"
            raise DataError(f"{where}: md5 {md5} ({len(content)} bytes), but {pinned}; {fix}")
        return content

    def read(self, path: Path, fix: str) -> bytes:
        """Return the checked content of the file ``path``."""
        if not path.is_file():
            raise DataError(f"{path}: no such file; {fix}")
        return self.check(path.read_bytes(), path, fix)


def read_pins(folder: Path) -> list[Pin]:
    """Read the ``.dvc`` files of ``folder``; the order is full, test, train."""
    pins = []
    for name in (FULL, TEST, TRAIN):
        file = folder / f"{name}.dvc"
        found = PIN.search(file.read_text(encoding="utf-8")) if file.is_file() else None
        if not found or found["path"] != name:
            raise DataError(f"{file}: missing, or no pin of {name}; restore it: git checkout -- {file}")
        md5 = found["md5"]
        pins.append(Pin(folder / name, md5, int(found["size"]), f"files/md5/{md5[:2]}/{md5[2:]}"))
    return pins


def find_absent(pins: list[Pin]) -> list[Pin]:
    """Return the pins whose file is absent; a file with other content is refused, never overwritten."""
    present = [pin for pin in pins if os.path.lexists(pin.path)]
    for pin in present:
        pin.read(pin.path, "move it away or delete it, then run this again")
    return [pin for pin in pins if pin not in present]


def run_dvc(root: Path, *args: str, fix: str) -> str:
    """Run one DVC command in ``root`` and return what it printed; raise ``DataError`` with DVC's own reason."""
    command = [sys.executable, "-P", "-m", "dvc", *args]
    env = os.environ | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        reason = min(done.stderr.splitlines() or ["failed"], key=lambda line: not line.startswith("ERROR: "))
        raise DataError(f"dvc {args[0]} in {root}: {reason.removeprefix('ERROR: ')}; {fix}")
    return done.stdout


def download(url: str, pin: Pin) -> bytes:
    """Return the checked content of an http(s) URL."""
    try:
        with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - the user's own URL, or ORIGIN
            content = response.read(pin.size + 1)  # one byte too many is enough to refuse it
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise DataError(f"{url}: download failed ({error}); check the network and the URL, {USE_OTHER}") from error
    return pin.check(content, url, f"repair that source, {USE_OTHER}")


def derive_train(full: bytes) -> bytes:
    """Return the rows of the full file, in order, that carry one of the 8 labels of the train file."""
    return b"".join(row for row in full.splitlines(keepends=True) if row.split(b",", 1)[0] in TRAIN_LABELS)


def read_origin(pins: list[Pin], absent: list[Pin]) -> dict[Pin, bytes]:
    """Return the content of all files: two from the public origin, unless already here, and the derived third."""
    mirror, contents = os.environ.get(MIRROR_ENV, "").rstrip("/"), {}
    full, test, train = pins
    for pin in (full, test):
        url = f"{mirror or ORIGIN[pin.path.name]}/{pin.path.name}"
        contents[pin] = download(url, pin) if pin in absent else pin.path.read_bytes()
    contents[train] = train.check(derive_train(contents[full]), f"train rows of {FULL}", f"correct a pin, {USE_OTHER}")
    return contents


def resolve_remote(root: Path, remote: str) -> str:
    """Return ``remote`` as the URL or directory that the keys of the objects are appended to."""
    listed = run_dvc(root, "remote", "list", fix="install DVC (the [dev] extra) or repair .dvc/config")
    urls = dict(re.findall(r"^(\S+)\s+(\S+)", listed, flags=re.MULTILINE))
    if "CHANGE-ME" in urls.get(remote, ""):
        raise DataError(f"remote {remote}: its url is a template; put yours there: dvc remote modify {remote} url URL")
    if remote not in urls and "://" not in remote and not Path(remote).is_dir():
        raise DataError(f"{remote}: neither a directory nor a DVC remote ({', '.join(urls)}); correct --remote")
    return f"remote://{remote}" if remote in urls else remote


def read_object(root: Path, base: str, pin: Pin) -> bytes:
    """Return the checked content of an object of a DVC remote, read without changing remote, cache or settings."""
    fix = f"repair that remote, {USE_OTHER}"
    if "://" not in base:
        return pin.read(Path(base, pin.key), fix)
    if base.startswith(("http://", "https://")):
        return download(f"{base.rstrip('/')}/{pin.key}", pin)
    with tempfile.TemporaryDirectory() as scratch:
        run_dvc(root, "get-url", f"{base.rstrip('/')}/{pin.key}", f"{scratch}/object", fix=fix)
        return pin.check(Path(scratch, "object").read_bytes(), f"{base}/{pin.key}", fix)


def place(contents: dict[Pin, bytes]) -> None:
    """Write all files beside their place, then rename them into it: none is ever half there."""
    with tempfile.TemporaryDirectory(dir=next(iter(contents)).path.parent, prefix=".fetch-") as staging:
        for pin, content in contents.items():
            Path(staging, pin.path.name).write_bytes(content)
        for pin in contents:
            Path(staging, pin.path.name).replace(pin.path)


def fetch(root: Path, remote: str) -> str:
    """Bring every absent file, check all of them again, and return the line that says what was done."""
    pins = read_pins(root / "data" / "atis")
    absent = find_absent(pins)
    if not absent:
        return "data/atis: all files are there, md5 and size as pinned"
    base = resolve_remote(root, remote) if remote else ""
    contents = {pin: read_object(root, base, pin) for pin in absent} if base else read_origin(pins, absent)
    place({pin: contents[pin] for pin in absent})
    fix = "install DVC (the [dev] extra); the files are right, it only takes: dvc commit -f data/atis/*.dvc"
    run_dvc(root, "commit", "-f", "--no-relink", *(f"{pin.path}.dvc" for pin in pins), fix=fix)
    find_absent(pins)
    return f"data/atis: {len(absent)} of {len(pins)} files fetched, all with md5 and size as pinned"


def main() -> int:
    """Run the command line; return the exit code: 0, or 2 after an error that the user can repair."""
    parser = argparse.ArgumentParser(description="Put the pinned ATIS files into data/atis.")
    parser.add_argument("--remote", default="", help="a configured DVC remote, a directory, or a URL (s3://, https://)")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1], help="root of the checkout")
    args = parser.parse_args()
    try:
        print(fetch(args.root.resolve(), os.path.expanduser(args.remote)))
    except (DataError, OSError) as error:
        fix = "" if isinstance(error, DataError) else "; check the rights and the free space there"
        print(f"error: {error}{fix}".replace("\n", " "), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
