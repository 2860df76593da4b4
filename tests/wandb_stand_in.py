"""A stand-in of the W&B server: what wandb 0.31's own client asks for one run and its reference artifacts, answered.

It keeps what it is sent. It is no proof that the real server accepts it.
"""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef" * 2 + "fedcba98"


class StandIn(ThreadingHTTPServer):
    """The server.

    Attributes:
        status: HTTP status of every answer.
        silent: Accept connections, and never answer.
        requests: Per request its path and body.
        uploads: Bodies of uploaded files by name.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.silent = 200, False
        self.requests: list[tuple[str, str]] = []
        self.uploads: dict[str, bytes] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def variables(self, operation: str) -> list[dict[str, Any]]:
        """Return the variables of each GraphQL request of an operation."""
        queries = [json.loads(body) for path, body in self.requests if path == "/graphql"]
        return [query["variables"] for query in queries if operation == _operation(query)]

    def history(self) -> list[dict[str, Any]]:
        """Return the logged rows."""
        streams = [json.loads(body) for path, body in self.requests if path.endswith("/file_stream")]
        files = [stream.get("files", {}).get("wandb-history.jsonl", {}) for stream in streams]
        return [json.loads(line) for file in files for line in file.get("content", [])]


class _Handler(BaseHTTPRequestHandler):
    server: StandIn  # type: ignore[assignment]

    def _answer(self) -> None:
        while self.server.silent:
            time.sleep(0.1)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/upload/"):
            self.server.uploads[self.path.removeprefix("/upload/")] = body
        else:
            self.server.requests.append((self.path, body.decode(errors="replace")))
        content = {"data": _result(json.loads(body), self.server.url)} if self.path == "/graphql" else {}
        if self.server.status != 200:
            content = {"errors": [{"message": "user is not logged in"}]}
        encoded = json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def _operation(query: dict[str, Any]) -> str:
    found = re.search(r"(?:query|mutation)\s+(\w+)", query["query"])
    return found[1] if found else ""


def _result(query: dict[str, Any], url: str) -> dict[str, Any]:
    """Return the answer to the GraphQL requests that one run makes."""
    operation, variables = _operation(query), query.get("variables") or {}
    if operation == "Viewer":
        return {"viewer": {"id": "v", "entity": "team", "username": "user", "flags": "{}"}}
    if operation == "UpsertBucket":
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": "team"}}
        names = {"name": variables["name"], "displayName": variables["displayName"]}
        bucket = {"id": "b", **names, "config": "{}", "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if operation == "ArtifactType":
        return {"project": {"artifact": None}}
    if operation == "CreateArtifact":
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}
    if operation == "CreateArtifactManifest":
        file = {"id": "f", "name": "m", "displayName": "m", "uploadUrl": f"{url}/upload/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}
    if operation == "CommitArtifact":
        return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}
    if operation == "CreateRunFiles":
        files = [{"name": name, "uploadUrl": f"{url}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
    return {}


@contextmanager
def wandb_stand_in() -> Iterator[StandIn]:
    """Yield a running stand-in."""
    with StandIn() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.silent = False
            server.shutdown()
