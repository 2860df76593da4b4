"""A stand-in for the parts of GitHub's API that comments need, over TLS: pull requests and comments."""

import json
import re
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 30  # comments, unless asked for more
LONGEST_BODY = 65_536


class GitHub(ThreadingHTTPServer):
    """The server and its memory.

    Attributes:
        comments: By pull request, in the order in which they were made.
        pulls: Number of the pull request that brought a commit.
        read_only: Whether the token may only read, as that of a fork's pull request.
    """

    daemon_threads = True

    def __init__(self, directory: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.pulls: dict[str, int] = {}
        self.read_only = False
        self.certificate = directory / "certificate.pem"
        key = directory / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
        files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(self.certificate)]
        subprocess.run([*command, *files], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_port}"

    def comment(self, pull: int, body: str, author: str = "someone") -> dict[str, Any]:
        """Add a comment."""
        identifier = 100 + sum(map(len, self.comments.values()))
        made = {"id": identifier, "body": body, "user": {"login": author}}
        made["html_url"] = f"https://github.com/acme/texts/pull/{pull}#issuecomment-{identifier}"
        self.comments.setdefault(pull, []).append(made)
        return made

    def posted(self, pull: int) -> list[str]:
        """Return what the workflows' own comments say."""
        return [c["body"] for c in self.comments.get(pull, []) if c["user"]["login"] == "github-actions[bot]"]


class _Handler(BaseHTTPRequestHandler):
    server: GitHub  # type: ignore[assignment]

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if found := re.fullmatch(r"/repos/acme/texts/issues/(\d+)/comments", path):
            page, size = int(query.get("page", ["1"])[0]), int(query.get("per_page", [str(PAGE)])[0])
            every = self.server.comments.get(int(found[1]), [])
            return self._answer(200, every[(page - 1) * size : page * size])
        if found := re.fullmatch(r"/repos/acme/texts/commits/(\w+)/pulls", path):
            number = self.server.pulls.get(found[1])
            return self._answer(200, [{"number": number}] if number else [])
        return self._answer(404, {"message": "Not Found"})

    def do_POST(self) -> None:
        found = re.fullmatch(r"/repos/acme/texts/issues/(\d+)/comments", self.path)
        body = self._body()
        if found and body is not None:
            self._answer(201, self.server.comment(int(found[1]), body, "github-actions[bot]"))

    def do_PATCH(self) -> None:
        found = re.fullmatch(r"/repos/acme/texts/issues/comments/(\d+)", self.path)
        body = self._body()
        if found and body is not None:
            every = [comment for comments in self.server.comments.values() for comment in comments]
            comment = next(comment for comment in every if comment["id"] == int(found[1]))
            comment["body"] = body
            self._answer(200, comment)

    def _body(self) -> str | None:
        """Return the comment that is sent, or answer why it is not taken."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]
        if self.headers.get("Authorization") != "Bearer token-of-this-run":
            return self._answer(401, {"message": "Bad credentials"})
        if self.server.read_only:
            return self._answer(403, {"message": "Resource not accessible by integration"})
        if len(body) > LONGEST_BODY:
            return self._answer(422, {"message": "Validation Failed: body is too long"})
        return body

    def _answer(self, status: int, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def github(directory: Path) -> Iterator[GitHub]:
    """Run a stand-in until the block ends."""
    server = GitHub(directory)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
