"""The bytes that pins name, from the checkout, DVC's cache or a remote; none is used before its md5 is right."""

import contextlib
import hashlib
import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import NotFound, open_store
from kfp_textclf.components.common.objects import checked_key
from kfp_textclf.pipelines.dvc_pins import Pin, find_pin, list_directory
from kfp_textclf.pipelines.git import Tree

TIMEOUT_SECONDS = 60


class Unavailable(UserError):
    """Pinned bytes are not on this machine, and no remote was named that may have them."""


def md5_of(path: Path) -> str:
    """Return the md5 of a file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check its rights") from error


class Damaged(UserError):
    """A store has other bytes than the pinned ones under their key."""


@dataclass(frozen=True)
class Sources:
    """Where pinned bytes may lie.

    Attributes:
        cache: DVC's cache.
        store: URI of a DVC remote.
    """

    cache: Path | None = None
    store: str = ""

    def resolve(self, tree: Tree, path: Path) -> Pin | None:
        """Return the pin of a file; where a directory is pinned that holds it, its entry in the directory's listing.

        Raises:
            UserError: A pin is malformed, the listing cannot be had, or the directory has no such file.
        """
        pin = find_pin(tree, path)
        if pin and pin.is_directory and pin.path != path:
            inside = {entry.path: entry for entry in self.expand(pin)}
            if path not in inside:
                raise UserError(f"{path}: is not in the pinned {pin.path.name} ({pin.source.name}); correct the path")
            return inside[path]
        return pin

    def expand(self, pin: Pin) -> list[Pin]:
        """Return the pins of a pinned directory's files; those of a file are itself."""
        if not pin.is_directory:
            return [pin]
        with tempfile.TemporaryDirectory() as scratch:
            return list_directory(pin, self.fetch(pin, Path(scratch), "listing").read_bytes())

    def fetch(self, pin: Pin, directory: Path, name: str = "") -> Path:
        """Return a file with the pinned bytes: the one in the checkout if it is right, else a copy.

        Args:
            pin: What is wanted.
            directory: Where a copy goes.
            name: Name of the copy; the pinned one's when empty.

        Raises:
            UserError: No source has the bytes, or the remote has other ones.
        """
        if not pin.is_directory and pin.path.is_file() and md5_of(pin.path) == pin.md5:
            return pin.path
        target = directory / (name or pin.path.name)
        cached = self.cache / pin.key if self.cache else None
        if cached and cached.is_file() and md5_of(cached) == pin.md5.removesuffix(".dir"):
            target.symlink_to(cached)  # readers go by the suffix, which a cached file does not have
            return target
        if not self.store:
            raise Unavailable(f"{pin}: is neither in the checkout nor in DVC's cache; name a remote that has it")
        download(self.store, pin, target)
        return target

    def size(self, pin: Pin) -> int:
        """Return the bytes of a pinned file; of a directory's files DVC does not note them.

        Raises:
            UserError: No source has the file.
        """
        if pin.size is not None:
            return pin.size
        cached = [self.cache / pin.key] if self.cache else []
        for path in (pin.path, *cached):
            if path.is_file() and md5_of(path) == pin.md5:
                return path.stat().st_size
        size = object_size(self.store, pin.key) if self.store else None
        if size is None:
            raise Unavailable(f"{pin}: is neither in the checkout nor in DVC's cache nor in a remote; dvc push it")
        return size


def sources_of(root: Path, store: str = "") -> Sources:
    """Return the sources of a checkout, with DVC's cache and the store at a URI."""
    from kfp_textclf.pipelines.dvc_remotes import cache_directory, dvc_root

    return Sources(cache_directory(dvc_root(root)), store)


def download(store: str, pin: Pin, target: Path) -> None:
    """Write the pinned bytes from a store to ``target``.

    Raises:
        NotFound: The store has no such object.
        Damaged: It has other bytes under that key.
        UserError: It cannot be read.
    """
    where = f"{store}/{pin.key}"
    try:
        if store.startswith(("http://", "https://")):
            with _answer(store, pin.key) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file, 1 << 20)
        else:
            open_store(store).download(pin.key, target)
    except NotFound as error:
        hint = "it is an import of another repository" if pin.imported else "push it: dvc push"
        raise NotFound(f"{pin}: {where} does not exist; {hint}") from error
    actual = md5_of(target)
    if actual != pin.md5.removesuffix(".dir"):
        size = target.stat().st_size
        target.unlink()
        raise Damaged(
            f"{pin}: {where} holds other bytes (md5 {actual}, {size} bytes); delete that object, then dvc push again"
        )


def object_size(store: str, key: str) -> int | None:
    """Return the size of a store's object in bytes, or None when there is none.

    Raises:
        UserError: The store cannot be read.
    """
    if not store.startswith(("http://", "https://")):
        return open_store(store).size(key)
    try:
        with _answer(store, key) as answer:  # not HEAD, which some servers refuse
            return int(answer.headers.get("Content-Length") or len(answer.read()))
    except NotFound:
        return None


@contextlib.contextmanager
def _answer(store: str, key: str) -> Iterator[http.client.HTTPResponse]:
    url = f"{store}/{checked_key(key)}"
    try:
        request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  (the user's own store)
            yield answer
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise NotFound(f"{url}: does not exist") from error
        raise UserError(f"{url}: answers {error.code} {error.reason}; check the store") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{url}: cannot be read ({reason}); check the store and the network") from error
