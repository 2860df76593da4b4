"""What a data set was like, without its texts: what later data are compared with.

``profile.json`` holds counts; ``fingerprints.parquet`` the labels of the texts with the smallest hashes, a bottom-k
sketch: a sample that two data sets draw alike, so that what is new, gone or labelled otherwise can be estimated (Cohen
and Kaplan, Summarizing data using bottom-k sketches, 2007), and counted when both hold all their texts.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json, write_json
from kfp_textclf.components.common.errors import UserError

PROFILE, FINGERPRINTS = "profile.json", "fingerprints.parquet"
SCHEMA_VERSION = 1
FINGERPRINT_COUNT = 1 << 17
HASHES = 1 << 64


@dataclass(frozen=True)
class DataProfile:
    """Counts of a prepared data set.

    Attributes:
        dataset: The pin: ``git_rev``, and ``files``: per path size in bytes, and md5 or sha256.
        rows: Rows per split.
        class_counts: Rows per split and label.
        counts: Per source: rows read, and rows dropped or changed by each rule.
        length_tokens: Texts per length in tokens.
        length_characters: Texts per length in characters; above 1000 to the nearest 100.
    """

    dataset: dict[str, Any]
    rows: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    counts: dict[str, dict[str, int]]
    length_tokens: dict[int, int]
    length_characters: dict[int, int]

    def write(self, directory: Path) -> None:
        """Write ``profile.json`` into a directory."""
        write_json(directory / PROFILE, {"schema_version": SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> "DataProfile":
        """Return the content of a ``profile.json``.

        Raises:
            UserError: It is unreadable, or of another version.
        """
        content = read_json(path)
        if not isinstance(content, dict) or content.pop("schema_version", None) != SCHEMA_VERSION:
            raise UserError(f"{path}: is not a version {SCHEMA_VERSION} profile; prepare the data set again")
        for name in ("length_tokens", "length_characters"):
            content[name] = {int(length): count for length, count in content[name].items()}
        return cls(**content)

    def labels(self) -> Counter[str]:
        """Return the rows per label over all splits."""
        return sum((Counter(counts) for counts in self.class_counts.values()), Counter())


def text_key(text: str) -> bytes:
    """Return the first 16 bytes of the sha256 of a text, by which equal texts are found."""
    return hashlib.sha256(text.encode()).digest()[:16]


def coarse_lengths(lengths: Mapping[int, int]) -> dict[int, int]:
    """Return a histogram of lengths with those above 1000 to the nearest 100, so that it stays small."""
    coarse: Counter[int] = Counter()
    for length, count in lengths.items():
        coarse[length if length <= 1000 else round(length, -2)] += count
    return dict(sorted(coarse.items()))


def write_fingerprints(texts: Iterable[tuple[bytes, str]], directory: Path) -> None:
    """Write the sketch: the first 8 bytes of each key as a big-endian number, and the label, ascending.

    Args:
        texts: Key (see `text_key`) and label of the texts with the smallest keys, ascending, ``FINGERPRINT_COUNT`` at
            most.
        directory: Where to write.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys, labels = [], []
    for key, label in texts:
        keys.append(int.from_bytes(key[:8], "big"))
        labels.append(label)
    table = pa.table({"text": pa.array(keys, pa.uint64()), "label": pa.array(labels, pa.string())})
    pq.write_table(table, directory / FINGERPRINTS)


def read_fingerprints(path: Path) -> dict[int, str]:
    """Return the label of each text in a sketch, by its hash.

    Raises:
        UserError: The file is no such sketch.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["text", "label"])
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: is not a readable sketch of texts ({error})") from error
    return dict(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))
