"""Checks of a data set: their names, how serious a failure is, what is tolerated, and what was found."""

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.report import Block, Share, Table

LEVELS = ("error", "warn", "off")
EXAMPLES = 5  # kept of each check
EXAMPLE_CHARACTERS = 120


@dataclass(frozen=True)
class Check:
    """What a check looks for.

    Attributes:
        found: What it counts, as a report says it.
        fix: What to do about it.
        level: ``error`` stops the step, ``warn`` only reports, ``off`` does not look; unless set otherwise.
        limit: Tolerated unless set otherwise: a share of the rows or texts, or what the check says.
    """

    found: str
    fix: str
    level: str = "warn"
    limit: float = 0.0


CHECKS = {
    # rows, as read
    "empty": Check("rows without text or label, dropped", "fill them in or remove them", limit=0.01),
    "short_text": Check("texts of fewer than min_characters characters", "remove them", limit=0.01),
    "long_text": Check("texts of more than max_characters characters", "cut or remove them", limit=0.01),
    "control_characters": Check("texts or labels with control, direction or invisible characters", "clean the file"),
    "replacement_characters": Check("texts decoded wrongly (U+FFFD, or such as Ã©)", "save the file as UTF-8 again"),
    "no_letters": Check("texts without any letter", "remove them", limit=0.01),
    "markup": Check("texts with HTML or script", "extract the text"),
    "formula": Check("texts or labels that a spreadsheet would run as a formula", "remove the leading sign"),
    "link": Check("texts with a web address", "mask them if they say nothing about the label", limit=0.05),
    "email_address": Check("texts with an e-mail address: personal data", "mask them"),
    "multi_label": Check("rows with several labels (a#b)", "see multi_label", limit=1.0),
    # rows together
    "duplicates": Check("rows repeating an earlier text, dropped", "remove them", limit=0.2),
    "conflicting_labels": Check("texts under several labels, most frequent kept", "agree on one label", limit=0.01),
    "leakage": Check("training texts standing in the test file too, dropped", "take them out of one file"),
    "class_minimum": Check("labels with fewer than min_class_rows training rows", "add rows or set min_examples"),
    "unseen_labels": Check("test rows whose label is never in train, dropped", "add training rows"),
    # against the champion's data
    "new_labels": Check("labels that the champion does not know", "see that they are meant"),
    "vanished_labels": Check("labels that only the champion knows", "add rows of them, or see that it is meant"),
    "changed_labels": Check("texts whose label is not the one it was", "see that they are meant", limit=0.02),
    "length_drift": Check("distance of the text lengths", "see where the texts come from", limit=0.1),
    "label_drift": Check("distance of the label shares", "see where the rows come from", limit=0.1),
}
ROW_CHECKS = tuple(CHECKS)[: list(CHECKS).index("duplicates")]
CHAMPION_CHECKS = tuple(CHECKS)[list(CHECKS).index("new_labels") :]
THRESHOLDS = {"min_characters": 2.0, "max_characters": 2_000.0, "min_class_rows": 5.0}


@dataclass(frozen=True)
class CheckSettings:
    """How serious each check is and what it tolerates.

    Attributes:
        levels: ``error``, ``warn`` or ``off`` for every check.
        limits: What every check tolerates, and the thresholds.
    """

    levels: Mapping[str, str]
    limits: Mapping[str, float]

    @classmethod
    def parse(cls, checks: Mapping[str, Any] | None = None, limits: Mapping[str, Any] | None = None) -> "CheckSettings":
        """Return the settings; what is not named keeps its default.

        Args:
            checks: Level by name of the check. YAML reads a bare ``off`` as false, so false is ``off``.
            limits: Number by name of the check, or of a threshold: min_characters, max_characters, min_class_rows.

        Raises:
            UserError: A name, level or number is unknown or out of range.
        """
        levels = {name: check.level for name, check in CHECKS.items()}
        for name, level in (checks or {}).items():
            _require_known("checks", name, levels)
            levels[name] = "off" if level is False else level
            if levels[name] not in LEVELS:
                raise UserError(f"prepare.checks.{name}={level!r}: is not one of {', '.join(LEVELS)}")
        numbers = {**{name: check.limit for name, check in CHECKS.items()}, **THRESHOLDS}
        for name, limit in (limits or {}).items():
            _require_known("limits", name, numbers)
            numbers[name] = _number(name, limit)
        return cls(levels, numbers)

    def changed(self) -> tuple[dict[str, str], dict[str, float]]:
        """Return the levels and limits that are not the default ones."""
        default = CheckSettings.parse()
        return (
            {name: level for name, level in self.levels.items() if level != default.levels[name]},
            {name: limit for name, limit in self.limits.items() if limit != default.limits[name]},
        )

    def wants(self, name: str) -> bool:
        """Return whether a check is to be made."""
        return self.levels[name] != "off"


def _require_known(section: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise UserError(f"prepare.{section}.{name}: unknown check; {hint}")


def _number(name: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UserError(f"prepare.limits.{name}={value!r}: is not a number of 0 or more")
    return number


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: Its name.
        count: How many of what it looks for.
        measure: What is compared with the limit: the share, the count, or a distance.
        share: Share of the rows, texts or labels looked at; negative when there is no such thing.
        examples: The first few, each with its place where that is known.
    """

    check: str
    count: int
    measure: float
    share: float = -1.0
    examples: tuple[str, ...] = ()

    @classmethod
    def of_share(cls, check: str, count: int, total: int, examples: Sequence[str] = ()) -> "Finding":
        """Return a finding whose limit is a share of ``total``."""
        share = count / total if total else 0.0
        return cls(check, count, share, share, tuple(examples[:EXAMPLES]))

    @classmethod
    def of_count(cls, check: str, count: int, total: int, examples: Sequence[str] = ()) -> "Finding":
        """Return a finding whose limit is a count."""
        return cls(check, count, count, count / total if total else 0.0, tuple(examples[:EXAMPLES]))

    def passed(self, settings: CheckSettings) -> bool:
        """Return whether the finding is tolerated."""
        return self.measure <= settings.limits[self.check]

    def result(self, settings: CheckSettings) -> str:
        """Return ``passed``, or the level of the failure."""
        return "passed" if self.passed(settings) else settings.levels[self.check]


def example(text: str, place: str = "", label: str = "") -> str:
    """Return a text in one line: its place, its beginning with what is unprintable escaped, and its label."""
    where, what = f"{place}: " if place else "", f" as {_cut(label)}" if label else ""
    return f"{where}{_cut(text)}{what}"


def _cut(text: str) -> str:
    return repr(text if len(text) <= EXAMPLE_CHARACTERS else text[: EXAMPLE_CHARACTERS - 1] + "…")


def require_passed(findings: Iterable[Finding], settings: CheckSettings) -> None:
    """Refuse data that a check of level ``error`` does not tolerate.

    Raises:
        UserError: It names the check, the count, the first example and its place, and what to do.
    """
    for finding in findings:
        if finding.result(settings) == "error":
            check, limit = CHECKS[finding.check], settings.limits[finding.check]
            counted = f"{finding.count} " if finding.count else ""
            first = f"; first: {finding.examples[0]}" if finding.examples else ""
            raise UserError(
                f"check {finding.check}: {counted}{check.found} ({finding.measure:.4g}, limit {limit:.4g}){first}; "
                f"{check.fix}, or set prepare.checks.{finding.check}=warn"
            )


def checks_table(findings: Iterable[Finding], settings: CheckSettings, names: Iterable[str]) -> Block:
    """Return one row for each of the named checks: what it found, and the first examples."""
    found = {finding.check: finding for finding in findings}
    rows = []
    for name in names:
        limit, level = settings.limits[name], settings.levels[name]
        finding = found.get(name)
        if finding is None:
            skipped = "off" if level == "off" else "not made"
            rows.append((name, CHECKS[name].found, level, "", "", limit, skipped, ""))
            continue
        share = Share(finding.share) if finding.share >= 0 else f"{finding.measure:.4f}"
        examples = " · ".join(finding.examples)
        result = finding.result(settings)
        rows.append((name, CHECKS[name].found, level, finding.count, share, limit, result, examples))
    columns = ("check", "looks for", "level", "count", "share", "limit", "result", "examples")
    return Table("Checks", columns, rows, "Set by prepare.checks and prepare.limits.")


def summary(findings: Iterable[Finding], settings: CheckSettings) -> dict[str, Any]:
    """Return count, share or distance, and result of each check, for metadata and programs."""
    return {f.check: {"count": f.count, "measure": f.measure, "result": f.result(settings)} for f in findings}
