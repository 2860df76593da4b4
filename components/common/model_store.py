"""A store of published models: immutable versions, and a pointer to the champion among them.

<target>/versions/<version>/...     never changed once written; the manifest names every file's sha256
<target>/champion.json              {"version", "uri", "previous", "metrics"}; replaced as a whole
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import (
    MANIFEST,
    atomic_directory,
    read_json,
    sha256_of,
    verified,
    write_json,
)
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import local_path

CHAMPION = "champion.json"


@dataclass(frozen=True)
class ModelStore:
    """A place for published models.

    Attributes:
        root: Local directory behind the ``file://`` URI of the target.
    """

    root: Path

    @classmethod
    def open(cls, uri: str) -> "ModelStore":
        """Return the store at a ``file://`` URI; it need not exist yet.

        Raises:
            UserError: The URI has another form.
        """
        return cls(local_path(uri, "publish_to"))

    def champion(self) -> dict[str, Any] | None:
        """Return the champion's record, or None when nothing was promoted yet."""
        path = self.root / CHAMPION
        return read_json(path) if path.exists() else None

    def add(self, files: dict[str, Path], producer: str) -> str:
        """Store files as a version named by their content; storing the same again changes nothing.

        Args:
            files: Local file for each name in the version.
            producer: Recorded in the manifest.

        Returns:
            The version: the first 16 hexadecimal digits of a sha256 over names and contents.
        """
        hashes = "".join(f"{name}\0{sha256_of(path)}\n" for name, path in sorted(files.items()))
        version = hashlib.sha256(hashes.encode()).hexdigest()[:16]
        directory = self.directory(version)
        if not (directory / MANIFEST).is_file():
            with atomic_directory(directory, producer) as target:
                for name, path in files.items():
                    shutil.copyfile(path, target / name)
        verified(directory)
        return version

    def promote(self, version: str, expected: str, metrics: dict[str, float]) -> dict[str, Any]:
        """Make a version the champion, unless another one became it meanwhile.

        Args:
            version: A stored version.
            expected: URI of the champion that the version was compared with; empty for none.
            metrics: Kept in the pointer, for readers that do not open the version.

        Raises:
            UserError: The champion is neither the expected one nor this version.
        """
        current = self.champion()
        if current and current["version"] == version:
            return current
        if (current["uri"] if current else "") != expected:
            raise UserError(
                f"{self.root / CHAMPION}: the champion is now {current['version'] if current else 'none'}, but this "
                f"model was compared with {expected.rsplit('/', 1)[-1] or 'none'}; run the evaluation again"
            )
        record = {
            "version": version,
            "uri": self.directory(version).as_uri(),
            "previous": expected,
            "metrics": metrics,
        }
        partial = self.root / f".{CHAMPION}.{os.getpid()}"
        write_json(partial, record)
        partial.replace(self.root / CHAMPION)
        return record

    def directory(self, version: str) -> Path:
        """Return where a version lies."""
        return self.root / "versions" / version
