"""The profile and the sketch of a data set, written and read back."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kfp_textclf.components.common.data_profile import (
    FINGERPRINTS,
    DataProfile,
    coarse_lengths,
    read_fingerprints,
    text_key,
    write_fingerprints,
)
from kfp_textclf.components.common.errors import UserError


def test_profile_is_read_back(tmp_path: Path) -> None:
    profile = DataProfile(
        {"git_rev": "", "files": {}}, {"train": 2}, {"train": {"x": 1, "y": 1}}, {}, {3: 2}, {9: 1, 1100: 1}
    )
    profile.write(tmp_path)
    assert DataProfile.read(tmp_path / "profile.json") == profile
    assert profile.labels() == {"x": 1, "y": 1}


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema_version": 99}', "no JSON"])
def test_other_files_are_no_profile(tmp_path: Path, content: str) -> None:
    (tmp_path / "profile.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"profile\.json: "):
        DataProfile.read(tmp_path / "profile.json")


def test_long_texts_share_bins() -> None:
    assert coarse_lengths({5: 1, 1000: 1, 1049: 1, 1051: 2, 99_999: 1}) == {5: 1, 1000: 2, 1100: 2, 100_000: 1}


def test_fingerprints_hold_no_text_and_are_read_back(tmp_path: Path) -> None:
    rows = sorted((text_key(text), "x") for text in ("a secret", "another"))
    write_fingerprints(rows, tmp_path)
    assert pq.read_schema(tmp_path / FINGERPRINTS).types == [pa.uint64(), pa.string()]
    assert read_fingerprints(tmp_path / FINGERPRINTS) == {int.from_bytes(key[:8], "big"): "x" for key, _ in rows}
    assert b"secret" not in (tmp_path / FINGERPRINTS).read_bytes()


def test_damaged_sketch_is_refused(tmp_path: Path) -> None:
    (tmp_path / FINGERPRINTS).write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(UserError, match=r"fingerprints\.parquet: is not a readable sketch"):
        read_fingerprints(tmp_path / FINGERPRINTS)
