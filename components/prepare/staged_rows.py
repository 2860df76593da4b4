"""Rows on disk while they are cleaned and split, so that memory does not grow with their number.

SQLite sorts and joins within a fixed page cache and spills the rest to disk. Measured on 5 million rows: it stays below
150 MB, where DuckDB with a memory limit of 256 MB took 495 MB, and would add 65 MB to the image.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common.data_profile import text_key
from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from sqlite3 import Connection

SPLITS = ("train", "validation", "test")
PAGE_CACHE_KB = 32_768
TABLES = (
    # every usable row, in the order of the files; the text stands last because most queries do without it
    "CREATE TABLE rows (number INTEGER PRIMARY KEY, source TEXT, place INTEGER, key BLOB, lot INTEGER, label TEXT, "
    "text TEXT)",
    # every text of a file once, with the number of its first row, and where it goes: a split, or the rule that drops it
    "CREATE TABLE texts (source TEXT, key BLOB, number INTEGER, lot INTEGER, label TEXT, copies INTEGER, "
    "labels INTEGER, split TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID",
)
MERGE = """
INSERT INTO texts
SELECT source, key, min(number), lot, label, count(*), count(DISTINCT label), source FROM rows GROUP BY source, key
"""  # the bare columns are those of the row with the least number: sqlite.org/lang_select.html, section 3.2
VOTE = (
    "CREATE TABLE conflicts (source TEXT, key BLOB, PRIMARY KEY (source, key)) WITHOUT ROWID",
    "INSERT INTO conflicts SELECT source, key FROM texts WHERE labels > 1",
    "CREATE TABLE winners (source TEXT, key BLOB, label TEXT, PRIMARY KEY (source, key)) WITHOUT ROWID",
    """
    INSERT INTO winners SELECT source, key, label FROM (
        SELECT source, key, label,
            row_number() OVER (PARTITION BY source, key ORDER BY count(*) DESC, min(number)) AS place
        FROM rows JOIN conflicts USING (source, key) GROUP BY source, key, label)
    WHERE place = 1
    """,
    """
    UPDATE texts SET label = (SELECT label FROM winners w WHERE w.source = texts.source AND w.key = texts.key)
    WHERE labels > 1
    """,
    "DROP TABLE conflicts",
    "DROP TABLE winners",
)
LEAKS = """
UPDATE texts SET split = 'leaked'
WHERE source = 'train' AND EXISTS (SELECT 1 FROM texts held WHERE held.source = 'test' AND held.key = texts.key)
"""
SPLIT = """
UPDATE texts SET split = ? WHERE split = 'train' AND number IN (
    SELECT number FROM (
        SELECT number, label, row_number() OVER (PARTITION BY label ORDER BY lot, key) AS place
        FROM texts WHERE split = 'train')
    JOIN chosen USING (label) WHERE place <= share)
"""


class StagedRows:
    """The rows of a data set in a SQLite file."""

    def __init__(self, connection: "Connection", seed: int) -> None:
        """Create the tables; the seed draws the lots by which rows are split."""
        self._sql = connection
        self._salt = f"{seed}:".encode()
        for statement in TABLES:
            self._sql.execute(statement)

    def add(self, source: str, rows: Iterable[tuple[int, str, str]]) -> None:
        """Add rows of ``train`` or ``test``: number of the line, text and label, both normalised."""
        self._sql.executemany(
            "INSERT INTO rows (source, place, key, lot, label, text) VALUES (?, ?, ?, ?, ?, ?)",
            ((source, place, *self._key_and_lot(text), label, text) for place, text, label in rows),
        )

    def _key_and_lot(self, text: str) -> tuple[bytes, int]:
        key = text_key(text)
        return key, int.from_bytes(hashlib.sha256(self._salt + key).digest()[:8], "big", signed=True)

    def merge_duplicates(self) -> None:
        """Keep each text of a file once, with its most frequent label, the earliest of equals."""
        for statement in (MERGE, *VOTE):
            self._sql.execute(statement)

    def drop_leaks(self) -> int:
        """Drop every training text that the test rows hold; return how many."""
        return self._sql.execute(LEAKS).rowcount

    def drop_labels(self, labels: Iterable[str], split: str, reason: str) -> int:
        """Drop the rows of some labels from a split; return how many."""
        self._choose(dict.fromkeys(labels, 0))
        query = "UPDATE texts SET split = ? WHERE split = ? AND label IN (SELECT label FROM chosen)"
        return self._sql.execute(query, (reason, split)).rowcount

    def move(self, shares: dict[str, int], split: str) -> None:
        """Move from each label's training rows those with the lowest lots, as many as its share, to another split."""
        self._choose(shares)
        self._sql.execute(SPLIT, (split,))

    def _choose(self, shares: dict[str, int]) -> None:
        self._sql.execute("DROP TABLE IF EXISTS chosen")
        self._sql.execute("CREATE TABLE chosen (label TEXT PRIMARY KEY, share INTEGER) WITHOUT ROWID")
        self._sql.executemany("INSERT INTO chosen VALUES (?, ?)", sorted(shares.items()))

    def class_counts(self) -> dict[str, Counter[str]]:
        """Return the rows per label of each split, and of each rule that dropped some."""
        counts: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
        for split, label in self._sql.execute("SELECT split, label FROM texts"):
            counts.setdefault(split, Counter())[label] += 1
        return counts

    def fates(self, source: str) -> Counter[str]:
        """Return how many texts of a source are in each split, or were dropped by each rule."""
        query = "SELECT split, count(*) FROM texts WHERE source = ? GROUP BY split"
        return Counter(dict(self._sql.execute(query, (source,))))

    def first(self, source: str) -> tuple[int, str, str] | None:
        """Return line number, text and label of the first row of a source, if there is one."""
        query = "SELECT place, text, label FROM rows WHERE source = ? ORDER BY number LIMIT 1"
        return self._sql.execute(query, (source,)).fetchone()

    def staged(self, condition: str, *values: Any) -> int:
        """Return how many of the rows that were added fulfil a condition in SQL."""
        return self._sql.execute(f"SELECT count(*) FROM rows WHERE {condition}", values).fetchone()[0]  # noqa: S608

    def count(self, condition: str, *values: Any) -> int:
        """Return how many texts fulfil a condition in SQL."""
        return self._sql.execute(f"SELECT count(*) FROM texts WHERE {condition}", values).fetchone()[0]  # noqa: S608

    def examples(self, condition: str, count: int, *values: Any) -> list[tuple[str, int, str, str]]:
        """Return source, line number, text and label of the first texts that fulfil a condition in SQL."""
        query = (
            "SELECT rows.source, place, text, texts.label FROM texts JOIN rows USING (number) "  # noqa: S608
            f"WHERE number IN (SELECT number FROM texts WHERE {condition} ORDER BY number LIMIT ?) ORDER BY number"
        )
        return self._sql.execute(query, (*values, count)).fetchall()

    def fingerprints(self, count: int) -> Iterator[tuple[bytes, str]]:
        """Yield key and label of the kept texts with the smallest keys, ascending."""
        query = f"SELECT key, label FROM texts WHERE split IN {SPLITS} ORDER BY key LIMIT ?"  # noqa: S608
        yield from self._sql.execute(query, (count,))

    def kept(self) -> Iterator[tuple[str, str, str]]:
        """Yield split, text and label of every kept text, in the order of the files."""
        self._sql.execute("CREATE TABLE kept (number INTEGER PRIMARY KEY, split TEXT, label TEXT)")
        self._sql.execute(
            f"INSERT INTO kept SELECT number, split, label FROM texts WHERE split IN {SPLITS} ORDER BY number"  # noqa: S608
        )
        yield from self._sql.execute(
            "SELECT kept.split, text, kept.label FROM kept CROSS JOIN rows USING (number) ORDER BY kept.number"
        )


@contextmanager
def staged_rows(output: str | Path, seed: int) -> Iterator[StagedRows]:
    """Yield an empty table of rows in a temporary directory beside ``output``, which is removed in every case.

    Raises:
        UserError: The place cannot be written, or the disk is full.
    """
    import sqlite3

    final = Path(output)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{final.name}.staging-", dir=final.parent)
    except OSError as error:
        raise UserError(f"{final}: cannot be written ({error.strerror}); choose a writable output directory") from error
    with scratch as directory:
        connection = sqlite3.connect(f"{directory}/rows.sqlite", isolation_level=None)
        quoted = directory.replace("'", "''")
        try:
            for setting in (
                "journal_mode = OFF",  # nothing to roll back to: a failed step starts anew
                "synchronous = OFF",
                "locking_mode = EXCLUSIVE",
                f"cache_size = -{PAGE_CACHE_KB}",
                "temp_store = FILE",
                f"temp_store_directory = '{quoted}'",  # /tmp is often in memory
            ):
                connection.execute(f"PRAGMA {setting}")
            connection.execute("BEGIN")
            yield StagedRows(connection, seed)
        except sqlite3.OperationalError as error:
            if "full" in str(error):
                raise UserError(f"{final.parent}: no space left for the rows; free some, or choose another") from error
            raise
        finally:
            connection.execute("PRAGMA temp_store_directory = ''")
            connection.close()
