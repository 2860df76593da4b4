"""Every command of README.md and docs/ is typed into a fresh clone, or listed with the reason why not, and checked."""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from checked_only import BASE_MODEL, check, reason_not_to_run, rehearsal
from clone import commit, fresh_clone, run
from documents import Command, blocks, documents
from support import CITIES, md5, tiny_rows, write_csv

from kfp_textclf.components.common.dataset_pin import object_key

if TYPE_CHECKING:
    from kfp_textclf.pipelines.dev_s3 import S3Server

HEADER = ("text", "label")


@pytest.fixture(scope="module")
def bucket(s3_server: "S3Server", tiny_model: Path) -> Any:
    """The bucket that the pages call `bucket`, as boto3 has it, with a base model."""
    key, secret = (s3_server.environment[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"))
    session = boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    s3: Any = session.resource("s3", endpoint_url=s3_server.endpoint)
    bucket = s3.create_bucket(Bucket="bucket")
    for file in tiny_model.iterdir():
        bucket.upload_file(str(file), f"{BASE_MODEL.removeprefix('s3://bucket/')}/{file.name}")
    return bucket


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, s3_server: "S3Server") -> dict[str, str]:
    """The environment of a reader: a home and an S3 store, no cluster, no account."""
    home = tmp_path_factory.mktemp("home")
    ours = ("KFP_", "KF_", "WANDB_", "AWS_", "DVC_", "GIT_", "VIRTUAL_ENV", "MAKE", "MFLAGS")
    known = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    git = {f"GIT_{who}_{what}": f"t@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    settings = {"HOME": str(home), "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(home / "dvc")}
    return {**known, **git, **settings, **s3_server.environment}


def texts_of(cities: Sequence[str]) -> list[tuple[str, str]]:
    """Return rows as a reader would have them: with a header, the text first."""
    return [HEADER, *((text, label) for label, text in tiny_rows(cities))]


@pytest.fixture
def clone(tmp_path: Path, tiny_model: Path, bucket: Any) -> Path:
    """A fresh clone whose sample and base model are tiny, with a file of the reader's own; the bucket has it."""
    root = fresh_clone(tmp_path / "kfp-textclf")
    for name, cities in (("train", CITIES[:10]), ("test", CITIES[10:14])):
        content = write_csv(root / f"data/sample/{name}.csv", texts_of(cities)).read_bytes()
        bucket.put_object(Key=f"data/{object_key(md5(content))}", Body=content)
    params = (root / "params.yaml").read_text(encoding="utf-8")
    for old, new in {
        r"^base_model: \S+": f"base_model: {tiny_model.as_uri()}",
        r"^  epochs: \d+": "  epochs: 1",
        r"^  max_length: \d+": "  max_length: 32",
        r"^  floor: \S+": "  floor: -1.0",
        r"^  max_int8_drop: \S+": "  max_int8_drop: 2.0",
        r"^  min_baseline_gain: \S+": "  min_baseline_gain: -2.0",
        r"^  space:[^\n]*\n    learning_rate:.*\n(    .*\n?)*": "  space:\n    batch_size: [32]\n",
        r"^  (leakage|conflicting_labels|duplicates|class_minimum): error": r"  \1: warn",
    }.items():
        params, count = re.subn(old, new, params, count=1, flags=re.MULTILINE)
        assert count or "error" in old, old
    (root / "params.yaml").write_text(params, encoding="utf-8")
    write_csv(root / "texts.csv", texts_of(CITIES[:12]))
    commit(root, "tiny")
    return root


def follow(pages: Sequence[Path], clone: Path, environment: dict[str, str]) -> list[str]:
    """Do what pages say, block by block: type commands, or check them, and edit params.yaml; return what went wrong."""
    environment = {**environment, "PATH": f"{clone / '.venv/bin'}:{environment['PATH']}"}
    failed = []
    for block in (block for page in pages for block in blocks(page)):
        if block.language == "yaml" and block.text.startswith("datasets:"):
            params = clone / "params.yaml"
            params.write_text(params.read_text().replace("datasets:", block.text, 1))
        if block.language == "sh":
            failed += type_all(block.commands(), clone, environment)
    return failed


def type_all(typed: Sequence[Command], clone: Path, environment: dict[str, str]) -> list[str]:
    """Type commands one by one, or check them; return what went wrong."""
    failed = []
    for command in typed:
        if reason_not_to_run(command.text):
            try:
                check(command.text, clone, environment)
            except AssertionError as error:
                failed.append(f"{command}\n{error}")
            continue
        begun = time.monotonic()
        done = run(rehearsal(command.text), clone, environment)
        print(f"{time.monotonic() - begun:6.1f} s, exit code {done.returncode}: {command}", flush=True)
        if done.returncode != 0:
            failed.append(f"{command}\nexit code {done.returncode}\n{done.stdout[-2000:]}")
    return failed


@pytest.mark.s3
def test_readme(clone: Path, environment: dict[str, str]):
    failed = follow([clone / "README.md"], clone, environment)
    assert not failed, "\n\n".join(failed)


@pytest.mark.s3
def test_guides(clone: Path, environment: dict[str, str]):
    assert run("make run", clone, environment).returncode == 0  # whoever reads a guide has had the quick start
    failed = follow(documents(clone)[1:], clone, environment)
    assert not failed, "\n\n".join(failed)
