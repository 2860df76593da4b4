"""A store of published models, in a directory or an S3 bucket: immutable versions, and the champion among them.

<target>/versions/<version>/...             named by its content and never changed
<target>/versions/<version>/manifest.json   sha256 and size of every file; written last: without it there is no version
<target>/champion.json                      the champion and those before it; replaced by compare-and-swap alone
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_versions import ModelVersions, as_json, version_of
from kfp_textclf.components.common.object_store import ABSENT, Conflict, open_store

CHAMPION = "champion.json"
HISTORY = 20  # earlier champions that are remembered
ATTEMPTS = 20  # of a compare-and-swap, while others change the record


@dataclass(frozen=True)
class ModelStore(ModelVersions):
    """A place for published models.

    Guarantees, whoever works on it at the same time and whenever one of them is killed:

    - a reader finds a whole version or none, and the old champion or the new one;
    - of several publishers that were compared with the same champion, one succeeds and the others are told;
    - the champion is never deleted: `prune` notes in ``champion.json`` what it is about to delete, and `promote` and
      `rollback` refuse what is noted there. Each of them replaces the record only as it has read it, and every record
      has another ``revision``, so that one that has changed and changed back is not taken for the same.
    """

    @classmethod
    def open(cls, uri: str, name: str = "publish_to") -> "ModelStore":
        """Return the store at a ``file://`` or ``s3://`` URI; it need not exist yet.

        Raises:
            UserError: The URI has another form; ``name`` is the parameter to blame.
        """
        return cls(open_store(uri, name))

    def champion(self) -> dict[str, Any] | None:
        """Return the champion's record, or None when nothing was promoted yet.

        It holds ``version``, ``uri``, ``previous`` (URI of the champion before it, empty for none), ``metrics``,
        ``history`` (earlier champions, newest first: ``version``, ``metrics``), ``deleting`` and ``revision``.
        """
        return self._record()[0]

    def promote(self, version: str, expected: str, metrics: Mapping[str, float]) -> dict[str, Any]:
        """Make a version the champion, unless another one became it meanwhile; doing it again changes nothing.

        Args:
            version: A stored version.
            expected: URI of the champion that the version was compared with; empty for none.
            metrics: Kept in the record, for readers that do not open the version.

        Returns:
            The champion's record.

        Raises:
            UserError: The champion is neither the expected one nor this version.
        """

        def change(current: dict[str, Any] | None) -> dict[str, Any] | None:
            if current and current["version"] == version:
                return None
            if (current["version"] if current else "") != version_of(expected):
                raise UserError(
                    f"{self.store.uri_of(CHAMPION)}: the champion is now {current['version'] if current else 'none'}, "
                    f"but this model was compared with {version_of(expected) or 'none'}; run the pipeline again"
                )
            return self._crowned(version, dict(metrics), _pushed(current, version), current)

        return self._replace_record(change) or {}

    def rollback(self, to: str = "") -> dict[str, Any]:
        """Make an earlier champion the champion again, once every byte of it is verified.

        The version that is left is forgotten as a champion, so that another rollback goes further back. A version that
        never was a champion, or was left this way, is reached by its name.

        Args:
            to: A version; empty for the champion before this one.

        Returns:
            The champion's record.

        Raises:
            UserError: There is nothing to go back to, or the version is absent or damaged.
        """
        start = self.champion()
        if not start:
            raise UserError(f"{self.store.uri}: has no champion; publish a model first")
        if not to and not start["history"]:
            raise UserError(
                f"{self.store.uri}: there was no champion before {start['version']}; name a version by --to"
            )
        version = to or start["history"][0]["version"]
        self.verify(version)

        def change(current: dict[str, Any] | None) -> dict[str, Any] | None:
            if not current or current["version"] == version:
                return None
            if current["version"] != start["version"]:
                raise UserError(
                    f"{self.store.uri_of(CHAMPION)}: the champion became {current['version']} meanwhile; look again"
                )
            earlier = [entry["version"] for entry in current["history"]]
            if version not in earlier:
                return self._crowned(version, self.metrics(version), _pushed(current, version), current)
            position = earlier.index(version)
            metrics, history = current["history"][position]["metrics"], current["history"][position + 1 :]
            return self._crowned(version, metrics, history, current)

        return self._replace_record(change) or {}

    def prune(self, keep: int, dry_run: bool = False) -> list[str]:
        """Delete old versions, but neither the champion, nor the one before it, nor the newest.

        The manifest goes first, so that no reader takes what is left for a version. A prune that was killed is
        finished by the next one.

        Args:
            keep: How many of the newest versions to keep, by the time that their manifest was written.
            dry_run: Delete nothing.

        Returns:
            The versions deleted, or to delete.
        """
        doomed: list[str] = []

        def mark(current: dict[str, Any] | None) -> dict[str, Any] | None:
            doomed[:] = self._doomed(keep, current) if current else []
            if dry_run or not doomed or not current or set(current["deleting"]) == set(doomed):
                return None
            history = [entry for entry in current["history"] if entry["version"] not in doomed]
            return {**current, "history": history, "deleting": sorted(doomed)}

        def unmark(current: dict[str, Any] | None) -> dict[str, Any] | None:
            left = [version for version in current["deleting"] if version not in doomed] if current else []
            return {**current, "deleting": left} if current and left != current["deleting"] else None

        self._replace_record(mark)
        if doomed and not dry_run:
            for version in doomed:
                self.delete(version)
            self._replace_record(unmark)
        return doomed

    def _doomed(self, keep: int, record: dict[str, Any]) -> list[str]:
        dated = {version: (self.manifest(version) or {}).get("published_at", "") for version in self.versions()}
        newest = sorted(dated, key=lambda version: (dated[version], version), reverse=True)
        before = [entry["version"] for entry in record["history"][:1]]
        kept = {record["version"], *before, *newest[:keep]} - set(record["deleting"])
        return [*record["deleting"], *(v for v in newest if v not in kept and v not in record["deleting"])]

    def _record(self) -> tuple[dict[str, Any] | None, str]:
        stored = self.store.read(CHAMPION)
        if stored is None:
            return None, ABSENT
        return parse_champion(stored.content, self.store.uri_of(CHAMPION)), stored.tag

    def _replace_record(self, change: Callable[[dict[str, Any] | None], dict[str, Any] | None]) -> Any:
        """Write what ``change`` makes of the record, again when others wrote meanwhile; None leaves it."""
        for _ in range(ATTEMPTS):
            current, tag = self._record()
            changed = change(current)
            if changed is None:
                return current
            changed["revision"] = (current["revision"] if current else 0) + 1
            try:
                self.store.write(CHAMPION, as_json(changed), expected=tag)
            except Conflict:
                continue
            return changed
        raise UserError(f"{self.store.uri_of(CHAMPION)}: others keep changing it; run it again")

    def _crowned(
        self,
        version: str,
        metrics: dict[str, float],
        history: list[dict[str, Any]],
        current: dict[str, Any] | None,
    ) -> dict[str, Any]:
        self._refuse_doomed(version, current)
        if self.manifest(version) is None:
            raise UserError(f"{self.uri_of(version)}: is no published version; publish it again")
        return {
            "version": version,
            "uri": self.uri_of(version),
            "previous": self.uri_of(history[0]["version"]) if history else "",
            "metrics": metrics,
            "history": history,
            "deleting": current["deleting"] if current else [],
        }

    def _allow(self, version: str) -> None:
        self._refuse_doomed(version, self.champion())

    def _refuse_doomed(self, version: str, record: dict[str, Any] | None) -> None:
        if record and version in record["deleting"]:
            raise UserError(
                f"{self.uri_of(version)}: is being deleted; let `kfp-textclf models prune` finish, then publish again"
            )


def parse_champion(content: bytes, where: str) -> dict[str, Any]:
    """Return the champion's record; one of an older release knows only the champion before it.

    Raises:
        UserError: It is malformed.
    """
    try:
        record = json.loads(content)
        known = [{"version": version_of(record["previous"]), "metrics": {}}] if record["previous"] else []
        record = {"history": known, "deleting": [], "revision": 0, **record}
        named = [record["version"], *(entry["version"] for entry in record["history"]), *record["deleting"]]
        if not all(re.fullmatch("[0-9a-f]{16}", version) for version in named) or record["revision"] + 0 < 0:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{where}: is not a champion's record; restore it from a backup of the store") from None
    return record


def _pushed(current: dict[str, Any] | None, version: str) -> list[dict[str, Any]]:
    """Return the history with the current champion in front, and without the one to come."""
    if not current:
        return []
    left = {"version": current["version"], "metrics": current["metrics"]}
    rest = [entry for entry in current["history"] if entry["version"] not in (version, current["version"])]
    return [left, *rest][:HISTORY]
