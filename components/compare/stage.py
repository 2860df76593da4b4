"""Compare a prepared data set with the one that the champion learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import atomic_directory, read_json, verified, write_json
from kfp_textclf.components.common.data_checks import (
    EXAMPLES,
    CheckSettings,
    Finding,
    example,
    require_passed,
    summary,
)
from kfp_textclf.components.common.data_profile import (
    FINGERPRINTS,
    PROFILE,
    DataProfile,
    read_fingerprints,
    text_key,
)
from kfp_textclf.components.compare.champion import LABELS, ChampionData, read_champion_data
from kfp_textclf.components.compare.changes import (
    TextChanges,
    jensen_shannon_distance,
    length_distance,
    text_changes,
)
from kfp_textclf.components.compare.comparison_report import comparison_page

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class DatasetComparison:
    """What changed since the champion's data.

    Attributes:
        changes: The content of ``comparison.json``.
    """

    changes: dict[str, Any]
    report_html: str = field(repr=False)

    def metadata(self) -> dict[str, Any]:
        """Return what changed as artifact metadata, without any text; without what is not known: KFP stores no null."""
        return {name: value for name, value in self.changes.items() if name != "examples" and value is not None}


def compare(
    dataset: str,
    output: str,
    *,
    champion_uri: str = "",
    checks: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> DatasetComparison:
    """Compare a prepared data set with the champion's, as far as the champion carries what is needed.

    Args:
        dataset: Directory of the prepared data set.
        output: Directory to write: ``comparison.json``.
        champion_uri: URI of the published version; empty for none.
        checks: Level of each check, see `CheckSettings.parse`.
        limits: What each check tolerates.

    Raises:
        UserError: A check of level ``error`` does not tolerate what it found, or the champion cannot be read.
    """
    settings = CheckSettings.parse(checks, limits)
    directory = verified(dataset)
    champion = read_champion_data(champion_uri) if champion_uri else ChampionData()
    profile, labels = DataProfile.read(directory / PROFILE), read_json(directory / LABELS)
    texts = None
    if champion.fingerprints is not None:
        texts = text_changes(champion.fingerprints, read_fingerprints(directory / FINGERPRINTS), EXAMPLES)
    shown = _examples(directory, texts) if texts else {}
    findings = _findings(profile, labels, champion, texts, shown, settings)
    require_passed(findings, settings)
    changes = {
        "champion": champion_uri,
        "missing": _missing(champion) if champion_uri else [],
        "dataset": {"before": champion.profile.dataset if champion.profile else None, "now": profile.dataset},
        "rows": {s: [champion.profile.rows[s] if champion.profile else None, profile.rows[s]] for s in SPLITS},
        "classes": _class_changes(profile, labels, champion),
        "texts": {name: getattr(texts, name) for name in ("new", "removed", "relabelled", "common", "exact")}
        if texts
        else None,
        "checks": summary(findings, settings),
        "examples": shown,
    }
    with atomic_directory(output, "compare_dataset") as target:
        write_json(target / "comparison.json", changes)
    return DatasetComparison(changes, comparison_page(changes, findings, settings))


def _missing(champion: ChampionData) -> list[str]:
    """Return the files that the champion does not carry."""
    carried = {LABELS: champion.labels, PROFILE: champion.profile, FINGERPRINTS: champion.fingerprints}
    return [name for name, content in carried.items() if content is None]


def _class_changes(profile: DataProfile, labels: list[str], champion: ChampionData) -> list[dict[str, Any]]:
    """Return the rows of each label before and now, over all splits; None where that is not known."""
    now, before = profile.labels(), champion.profile.labels() if champion.profile else None
    known = before or dict.fromkeys(champion.labels or ())
    return [
        {"label": label, "before": before[label] if before else None, "now": now[label]}
        for label in sorted({*labels, *now, *known})
    ]


def _findings(
    profile: DataProfile,
    labels: list[str],
    champion: ChampionData,
    texts: TextChanges | None,
    shown: Mapping[str, list[str]],
    settings: CheckSettings,
) -> list[Finding]:
    findings = []
    if champion.labels is not None:
        new, gone = sorted({*labels} - {*champion.labels}), sorted({*champion.labels} - {*labels})
        findings += [
            Finding.of_count("new_labels", len(new), len(labels), [example(label) for label in new]),
            Finding.of_count("vanished_labels", len(gone), len(champion.labels), [example(label) for label in gone]),
        ]
    if texts is not None:
        findings.append(Finding.of_share("changed_labels", texts.relabelled, texts.common, shown["relabelled"]))
    if champion.profile is not None:
        lengths = length_distance(champion.profile.length_characters, profile.length_characters)
        shares = jensen_shannon_distance(champion.profile.labels(), profile.labels())
        findings += [Finding("length_drift", 0, lengths), Finding("label_drift", 0, shares)]
    return [finding for finding in findings if settings.wants(finding.check)]


def _examples(directory: Path, texts: TextChanges) -> dict[str, list[str]]:
    """Return some of the new and the relabelled texts, looked up among those present now."""
    import pyarrow.parquet as pq

    found: dict[int, str] = {}
    wanted = {*texts.new_keys, *texts.relabelled_keys}
    for split in SPLITS:
        for batch in pq.ParquetFile(directory / f"{split}.parquet").iter_batches(4096, columns=["text", "label"]):
            if len(found) == len(wanted):
                break
            for text, label in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                key = int.from_bytes(text_key(text)[:8], "big")
                if key in wanted:
                    before = texts.relabelled_keys.get(key)
                    found[key] = example(text, label=label) + (f", was {before!r}" if before is not None else "")
    return {
        "new": [found[key] for key in texts.new_keys if key in found],
        "relabelled": [found[key] for key in texts.relabelled_keys if key in found],
    }
