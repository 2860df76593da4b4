"""What clients do under faults, and how to tell afterwards, from the server alone, whether harm was done."""

import contextlib
import hashlib
import io
import json
import os
import random
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from kfp_textclf.components.common import reading
from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, read_json, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.object_store import ABSENT, open_store
from kfp_textclf.components.ingest.stage import ingest
from kfp_textclf.pipelines.dev_s3 import S3Server

CHECKPOINT = "step-1/"
PART = 64 << 10  # bytes of a range, so that small objects come in several


@dataclass(frozen=True)
class Place:
    """Where one schedule plays.

    Attributes:
        uri: An empty prefix of the server.
        directory: An empty local directory.
        seed: Of the content.
        url: Of the proxy.
    """

    uri: str
    directory: Path
    seed: str
    url: str

    @property
    def bucket(self) -> str:
        """Name of the bucket."""
        return self.uri.split("/")[2]

    @property
    def prefix(self) -> str:
        """What keys start with."""
        return self.uri.split("/", 3)[3] + "/"


@dataclass
class Harm:
    """What must not happen, as lines that say what did."""

    corrupt_accepted: list[str] = field(default_factory=list)
    half_published: list[str] = field(default_factory=list)
    champions_lost: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a client ended: ``right`` with a result, ``error`` or ``unclear`` with text, ``killed`` or ``hung``."""

    how: str
    value: Any = None


class Scenario:
    """Some clients that do something. Subclasses say what, and what is right afterwards."""

    keys: tuple[str, ...] = ("",)  # regular expressions: the requests that faults are for
    clients = 1

    def __init__(self, place: Place, server: S3Server) -> None:
        """Keep where to play."""
        self.place, self.server = place, server

    def prepare(self) -> None:
        """Put on the server, without faults, what is there before."""

    @staticmethod
    def act(place: Place, number: int) -> Any:
        """Do it, in a process of its own, as client ``number``.

        Raises:
            UserError: It did not work.
        """
        raise NotImplementedError

    def judge(self, outcomes: list[Outcome], harm: Harm) -> None:
        """Look at results and server, and note harm."""
        raise NotImplementedError

    def may_refuse(self, message: str) -> bool:
        """Whether the client may fail with this message when it tries again without faults."""
        return False

    def objects(self) -> dict[str, bytes]:
        """Return every object of the place."""
        client = raw_client(self.server, self.server.endpoint)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.place.bucket, Prefix=self.place.prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        found = {key: client.get_object(Bucket=self.place.bucket, Key=key)["Body"].read() for key in keys}
        return {key.removeprefix(self.place.prefix): content for key, content in found.items()}

    def remember(self, *keys: str) -> None:
        """Let the proxy see what is there now, for stale answers later."""
        client = raw_client(self.server, self.place.url)
        for prefix in ("", "versions/"):
            client.list_objects_v2(Bucket=self.place.bucket, Prefix=self.place.prefix + prefix)
        for key in keys:
            with contextlib.suppress(client.exceptions.NoSuchKey):
                client.get_object(Bucket=self.place.bucket, Key=self.place.prefix + key)["Body"].read()


class Ingest(Scenario):
    """A pinned data set from S3."""

    keys = ("", "files/md5", "files/md5")

    def prepare(self) -> None:  # noqa: D102
        draw = random.Random(self.place.seed)  # noqa: S311
        self.truth = {"train.csv": draw.randbytes(300_000), "test.csv": draw.randbytes(5_000), "dir/empty.csv": b""}
        client = raw_client(self.server, self.place.url)
        files = []
        for path, content in self.truth.items():
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            key = f"{self.place.prefix}files/md5/{md5[:2]}/{md5[2:]}"
            client.put_object(Bucket=self.place.bucket, Key=key, Body=draw.randbytes(len(content)))
            client.get_object(Bucket=self.place.bucket, Key=key)["Body"].read()  # what a stale answer holds
            client.put_object(Bucket=self.place.bucket, Key=key, Body=content)
            files.append({"path": path, "md5": md5, "size": len(content), **self.copy(key)})
        write_json(self.place.directory / "pin.json", {"store": self.place.uri, "git_rev": "0" * 40, "files": files})

    def copy(self, key: str) -> dict[str, str]:
        """Return what the pin says besides, about where the file lies."""
        return {}

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        return asdict(ingest(read_json(place.directory / "pin.json"), str(place.directory / "raw")))

    def judge(self, outcomes: list[Outcome], harm: Harm) -> None:  # noqa: D102
        raw = self.place.directory / "raw"
        if raw.exists():
            harm.corrupt_accepted += differences(raw, self.truth)
        elif outcomes[0].how == "right":
            harm.unclear.append("told success, but there is no artifact")


class IngestHttp(Ingest):
    """A pinned data set from addresses on a web server."""

    def copy(self, key: str) -> dict[str, str]:  # noqa: D102
        client = raw_client(self.server, self.place.url)
        return {"uri": client.generate_presigned_url("get_object", {"Bucket": self.place.bucket, "Key": key})}


class Objects(Scenario):
    """A checkpoint: files up, a marker last; then everything down again."""

    keys = ("", "step-1/", "done.json", "list-type")

    def prepare(self) -> None:  # noqa: D102
        draw = random.Random(self.place.seed)  # noqa: S311
        self.truth = {"weights": draw.randbytes(400_000), "optimizer": draw.randbytes(20_000)}
        for name, content in self.truth.items():
            (self.place.directory / name).write_bytes(content)
        self.remember(CHECKPOINT + "done.json")

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        store, names = open_store(place.uri), ("weights", "optimizer")
        hashes = {name: hashlib.sha256((place.directory / name).read_bytes()).hexdigest() for name in names}
        for name in names:
            store.upload(place.directory / name, CHECKPOINT + name)
        store.write(CHECKPOINT + "done.json", json.dumps(hashes).encode(), expected=ABSENT)
        marker = store.read(CHECKPOINT + "done.json")
        if marker is None:
            raise UserError(f"{place.uri}: the marker is not there; run it again")
        with atomic_directory(place.directory / "down", "test") as target:
            for name, expected in json.loads(marker.content).items():
                store.download(CHECKPOINT + name, target / name)
                if hashlib.sha256((target / name).read_bytes()).hexdigest() != expected:
                    raise UserError(f"{store.uri_of(CHECKPOINT + name)}: is damaged; run it again")

    def judge(self, outcomes: list[Outcome], harm: Harm) -> None:  # noqa: D102
        objects = self.objects()
        if CHECKPOINT + "done.json" in objects:
            stored = {name: objects.get(CHECKPOINT + name, b"") for name in self.truth}
            harm.half_published += [
                f"{name} differs under a marker" for name in stored if stored[name] != self.truth[name]
            ]
        down = self.place.directory / "down"
        if down.exists():
            harm.corrupt_accepted += differences(down, self.truth)
        elif outcomes[0].how == "right":
            harm.unclear.append("told success, but there is no artifact")


def run_client(
    report: Connection, scenario: type[Scenario], place: Place, number: int, environment: Mapping[str, str]
) -> None:
    """Be a client, in a process of its own, and report how it ended."""
    os.environ.update(environment)
    reading.PART = PART
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            outcome = Outcome("right", scenario.act(place, number))
        except UserError as error:
            outcome = Outcome("error", str(error))
        except BaseException:
            outcome = Outcome("unclear", traceback.format_exc())
    report.send(outcome)
    report.close()
    os._exit(0)  # threads that still wait for an answer do not count


def differences(directory: Path, truth: Mapping[str, bytes]) -> Iterator[str]:
    """Say in what an artifact differs from the truth; its manifest is checked against the files."""
    files = {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }
    manifest = json.loads(files.pop(MANIFEST, b'{"files": {}}'))
    hashes = {name: "md5" if "md5" in entry else "sha256" for name, entry in manifest["files"].items()}
    listed = {name: (entry[hashes[name]], entry["size"]) for name, entry in manifest["files"].items()}
    actual = {
        name: (hashlib.new(hashes.get(name, "sha256"), content).hexdigest(), len(content))  # md5 pins raw data
        for name, content in truth.items()
    }
    if files != truth or listed != actual:
        yield f"{directory} holds {sorted(files)}, which differ from the truth or from the manifest"


def raw_client(server: S3Server, endpoint: str) -> Any:
    """Return a client that shares no code with what is tested."""
    with _making:  # boto3 is not made for several threads here
        return boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=server.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=server.environment["AWS_SECRET_ACCESS_KEY"],
            region_name=server.environment["AWS_REGION"],
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", read_timeout=60),
        )


_making = threading.Lock()
