"""Fetch exactly the pinned bytes of a data set."""

from dataclasses import asdict, dataclass
from typing import Any

from kfp_textclf.components.common.artifacts import atomic_directory
from kfp_textclf.components.common.dataset_pin import DatasetPin
from kfp_textclf.components.ingest.fetch import fetch


@dataclass(frozen=True)
class IngestedDataset:
    """What was fetched.

    Attributes:
        store: URI of the store.
        git_rev: Git revision of the pin.
        files: Per path: md5, size in bytes and number of lines.
        size: Bytes of all files.
    """

    store: str
    git_rev: str
    files: dict[str, dict[str, Any]]
    size: int

    def metadata(self) -> dict[str, Any]:
        """Return the fields as artifact metadata."""
        return asdict(self)


def ingest(dataset_pin: dict[str, Any], output: str) -> IngestedDataset:
    """Fetch every pinned file, verify its md5 and size, and place the verified files in ``output``.

    Args:
        dataset_pin: See `DatasetPin.parse`.
        output: Directory to write; it appears only when every file is right.

    Raises:
        UserError: The pin is malformed, a copy cannot be read, or its bytes are not the pinned ones.
    """
    pin = DatasetPin.parse(dataset_pin)
    files: dict[str, dict[str, Any]] = {}
    hashes: dict[str, dict[str, str]] = {}
    with atomic_directory(output, "ingest_dataset", hashes) as directory:
        for pinned in pin.files:
            received = fetch(pinned, directory / pinned.path)
            hashes[pinned.path] = {"md5": received.md5}
            files[pinned.path] = {"md5": received.md5, "size": received.size, "lines": received.lines}
    return IngestedDataset(pin.store, pin.git_rev, files, sum(pinned.size for pinned in pin.files))
