"""What the champion carries of the data that it learned from."""

from dataclasses import dataclass
from pathlib import Path

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.data_profile import FINGERPRINTS, PROFILE, DataProfile, read_fingerprints
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.published import open_version

LABELS, CONFIG = "labels.json", "config.json"


@dataclass(frozen=True)
class ChampionData:
    """What is known of the champion's data; None or nothing for what it does not carry.

    Attributes:
        labels: Label names.
        profile: Counts of its data set.
        fingerprints: Label of each text of its sketch, by hash.
    """

    labels: list[str] | None = None
    profile: DataProfile | None = None
    fingerprints: dict[int, str] | None = None


def read_champion_data(uri: str) -> ChampionData:
    """Return what a published version tells of its data.

    Args:
        uri: URI of the version, or of a store, which means its champion.

    Raises:
        UserError: There is no such version, or it differs from its manifest.
    """
    directory = open_version(uri, "champion_uri")
    return ChampionData(
        _labels(directory),
        DataProfile.read(directory / PROFILE) if (directory / PROFILE).is_file() else None,
        read_fingerprints(directory / FINGERPRINTS) if (directory / FINGERPRINTS).is_file() else None,
    )


def _labels(directory: Path) -> list[str] | None:
    """Return the labels of a version: of ``labels.json``, or those that its model's configuration names."""
    for name in (LABELS, CONFIG):
        if (directory / name).is_file():
            content = read_json(directory / name)
            labels = list(content.get("id2label", {}).values()) if isinstance(content, dict) else content
            if not (isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels)):
                raise UserError(f"{directory / name}: names no labels; publish the model again")
            return labels
    return None
