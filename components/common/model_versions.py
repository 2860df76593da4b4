"""Immutable versions of models in a store, named by their content.

<target>/versions/<version>/...             never changed once there is a manifest
<target>/versions/<version>/manifest.json   sha256 and size of every file; written last: without it there is no version
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST, SCHEMA_VERSION, sha256_of
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import ABSENT, Conflict, NotFound, ObjectStore
from kfp_textclf.components.common.objects import checked_key


@dataclass(frozen=True)
class ModelVersions:
    """Versions in a store.

    Attributes:
        store: The objects.
    """

    store: ObjectStore

    def add(self, files: Mapping[str, Path], producer: str) -> str:
        """Store files as a version named by their content; storing the same again changes nothing.

        What a publisher that was killed has left is completed, and objects that are not as they should be are stored
        again, as long as there is no manifest. A version that has one was whole, so whatever differs now was changed
        behind the store's back: that is reported, and never mended in silence.

        Args:
            files: Local file for each name in the version.
            producer: Recorded in the manifest.

        Returns:
            The version: the first 16 hexadecimal digits of a sha256 over names and contents.

        Raises:
            UserError: The store refuses, or does not hold what was stored.
        """
        listed = {name: {"sha256": sha256_of(path), "size": path.stat().st_size} for name, path in files.items()}
        version = content_id(listed)
        if self.manifest(version) is not None:
            self.verify(version)
            return version
        self._allow(version)  # after the manifest was read: what deletes it says so before
        for name, path in files.items():
            self._put(path, f"{prefix_of(version)}{name}", listed[name]["sha256"])
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "producer": producer,
            "published_at": datetime.now(UTC).isoformat(timespec="microseconds"),
            "files": listed,
        }
        try:
            self.store.write(prefix_of(version) + MANIFEST, as_json(manifest), expected=ABSENT)
        except Conflict:  # another publisher of the same content was first
            self.verify(version)
        return version

    def versions(self) -> list[str]:
        """Return the versions that have a manifest, sorted by name."""
        pattern = re.compile(rf"versions/([0-9a-f]{{16}})/{re.escape(MANIFEST)}")
        return [found[1] for key in self.store.keys("versions/") if (found := pattern.fullmatch(key))]

    def manifest(self, version: str) -> dict[str, Any] | None:
        """Return a version's manifest, or None when there is no such version.

        Raises:
            UserError: It is not the manifest of what the version is named by.
        """
        if not re.fullmatch("[0-9a-f]{16}", version):
            raise UserError(f"version {version!r}: is not of 16 hexadecimal digits")
        key = prefix_of(version) + MANIFEST
        stored = self.store.read(key)
        return parse_manifest(stored.content, version, self.store.uri_of(key)) if stored else None

    def verify(self, version: str) -> dict[str, Any]:
        """Read every object of a version again; return its manifest.

        Raises:
            UserError: The version is absent or damaged.
        """
        manifest = self.manifest(version)
        if manifest is None:
            raise UserError(f"{self.uri_of(version)}: is no published version; `kfp-textclf models list` names them")
        for name, entry in manifest["files"].items():
            actual = self._sha256(prefix_of(version) + name)
            if actual != entry["sha256"]:
                key = prefix_of(version) + name
                raise UserError(
                    f"{self.store.uri_of(key)}: differs from its manifest (sha256 {entry['sha256']} expected, is "
                    f"{actual or 'absent'}); restore it, or delete {MANIFEST} beside it and publish again"
                )
        return manifest

    def metrics(self, version: str) -> dict[str, float]:
        """Return the figures that a version was published with; none when it has no evaluation."""
        stored = self.store.read(f"{prefix_of(version)}evaluation.json")
        try:
            content = json.loads(stored.content) if stored else {}
            return dict(content[content.get("variant", "onnx_int8")]) if content else {}
        except (ValueError, TypeError, KeyError, AttributeError):
            return {}

    def uri_of(self, version: str) -> str:
        """Return the URI of a version."""
        return self.store.uri_of(f"versions/{version}")

    def delete(self, version: str) -> None:
        """Delete a version, the manifest first: readers never take what is left for a version."""
        self.store.delete(prefix_of(version) + MANIFEST)
        for key in self.store.keys(prefix_of(version)):
            self.store.delete(key)

    def _allow(self, version: str) -> None:
        """Raise `UserError` if nothing may be stored under that version now."""

    def _put(self, path: Path, key: str, expected: str) -> None:
        """Store a file unless it is there already; two that do it at once store the same."""
        if self._sha256(key) == expected:
            return
        self.store.upload(path, key)
        actual = self._sha256(key)
        if actual != expected:
            raise UserError(
                f"{self.store.uri_of(key)}: does not hold what was stored (sha256 {expected} expected, is "
                f"{actual or 'absent'}); check the store, then publish again"
            )

    def _sha256(self, key: str) -> str:
        """Return the sha256 of an object as the store gives it back; empty when there is none."""
        try:
            with tempfile.TemporaryDirectory(prefix="kfp-textclf-") as scratch:
                self.store.download(key, Path(scratch) / "object")
                return sha256_of(Path(scratch) / "object")
        except NotFound:
            return ""
        except OSError as error:
            raise UserError(
                f"{self.store.uri_of(key)}: cannot be verified ({error.strerror or error}); "
                "make room for temporary files, or set TMPDIR"
            ) from error


def content_id(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the version that files are named by, from the sha256 of each."""
    listed = "".join(f"{name}\0{files[name]['sha256']}\n" for name in sorted(files))
    return sha256(listed.encode()).hexdigest()[:16]


def version_of(uri: str) -> str:
    """Return the last part of a version's URI."""
    return uri.rstrip("/").rsplit("/", 1)[-1]


def parse_manifest(content: bytes, version: str, where: str) -> dict[str, Any]:
    """Return a version's manifest, checked against the version's name; ``where`` is the place to blame.

    Raises:
        UserError: It is malformed, or names other content.
    """
    try:
        manifest = json.loads(content)
        files = {checked_key(name): entry for name, entry in manifest["files"].items()}
        plain = all(
            isinstance(entry["size"], int) and re.fullmatch("[0-9a-f]{64}", entry["sha256"]) for entry in files.values()
        )
        if not plain or manifest["schema_version"] != SCHEMA_VERSION or MANIFEST in files:
            raise ValueError
    except (UserError, ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{where}: is not a version {SCHEMA_VERSION} manifest; delete it and publish again") from None
    if content_id(files) != version:
        raise UserError(
            f"{where}: names other content than its version (sha256 {version}... expected, is {content_id(files)}...); "
            "delete it and publish again"
        )
    return manifest


def prefix_of(version: str) -> str:
    """Return what the keys of a version start with."""
    return f"versions/{version}/"


def as_json(value: Any) -> bytes:
    """Return a value as the JSON that the store holds."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()
