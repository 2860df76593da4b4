"""A proxy between a client and a real S3 server that does to chosen requests what networks and servers do.

A `Schedule` is made from a seed and says which requests meet which fault. Signatures survive: the client signs for the
proxy's address, and the header ``Host`` goes to the server unchanged.
"""

import contextlib
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

FOREVER = 1 << 30
ERRORS = {  # answered in the server's place: status, code and message
    "internal_error": (500, "InternalError", "We encountered an internal error. Please try again."),
    "slow_down": (503, "SlowDown", "Please reduce your request rate."),
    "clock_skew": (
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    ),
    "expired_token": (400, "ExpiredToken", "The provided token has expired."),
    "expired_token_403": (403, "ExpiredTokenException", "The security token included in the request is expired"),
}
ANY, READ, SEND = r"\w+", "GET", "PUT|POST"
FAULTS = {  # name: the methods that can meet it
    "delay": ANY,  # a moment late
    "silence": ANY,  # answered, and done by the server, only after the client has given up
    "reset": ANY,  # the connection is reset before the server sees the request
    "reset_upload": SEND,  # ... while the client sends the body
    "reset_answer": ANY,  # ... after the server has done it, and before the client hears of it
    "reset_body": READ,  # ... in the middle of the answer's body
    "truncated": ANY,  # the body ends early, against its Content-Length
    "flipped_bit": READ,  # one bit of the body is another
    "flipped_upload": SEND,  # ... of the body that is sent
    "other_body": READ,  # the body of another object
    "foreign": ANY,  # a page of somebody else's, as from a captive portal
    "stale": READ,  # what was answered the first time
    "duplicate": ANY,  # the request reaches the server twice, and the client hears of the second
    "kill": ANY,  # the client is killed before the server sees the request
    "kill_after": ANY,  # ... or after the server has done it
    **dict.fromkeys(ERRORS, ANY),
}


@dataclass
class Rule:
    """Some requests, and what happens to them.

    Attributes:
        fault: One of `FAULTS`.
        key: Regular expression that the path and query of the request contain.
        skip: How many such requests come through first.
        times: How many meet the fault after that.
    """

    fault: str
    key: str = ""
    skip: int = 0
    times: int = FOREVER
    seen: int = 0

    def hits(self, method: str, path: str) -> bool:
        """Whether this request meets the fault; every request is to be asked about once."""
        if not re.fullmatch(FAULTS[self.fault], method) or not re.search(self.key, path):
            return False
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times


@dataclass
class Schedule:
    """Rules, of which the first that hits decides.

    Attributes:
        rules: The rules.
        draw: Decides on details such as which bit is flipped.
        hits: How often each fault was met.
    """

    rules: list[Rule] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(0))
    hits: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def from_seed(cls, seed: str, keys: Sequence[str], faults: Sequence[str] = tuple(FAULTS)) -> "Schedule":
        """Draw one or two rules.

        Args:
            seed: Decides everything.
            keys: Regular expressions to draw from: the requests that matter.
            faults: Faults to draw from.
        """
        draw = random.Random(seed)
        rules = []
        for _ in range(draw.choice((1, 1, 2))):
            times = draw.choice((1, 1, 2, 4, FOREVER))
            rules.append(Rule(draw.choice(faults), draw.choice(keys), draw.choice((0, 0, 0, 1, 2, 4)), times))
        return cls(rules, draw)

    def fault(self, method: str, path: str) -> str:
        """Return the fault that a request meets; empty for none."""
        with self._lock:
            met = [rule.fault for rule in self.rules if rule.hits(method, path)]
            self.hits.update(met[:1])
            return met[0] if met else ""


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class FaultProxy:
    """A running proxy.

    Attributes:
        url: Its address.
        schedule: What happens from now on; it may be replaced.
        kill: Kills the client.
    """

    def __init__(self, upstream: str, schedule: Schedule | None = None, silence: float = 3.0) -> None:
        """Prepare a proxy.

        Args:
            upstream: URL of the server.
            schedule: What happens; nothing if not given.
            silence: Seconds that are longer than the client waits.
        """
        parts = urlsplit(upstream)
        self.address = (parts.hostname or "", parts.port or 80)
        self.schedule, self.silence = schedule or Schedule(), silence
        self.kill: Callable[[], object] = lambda: None
        self.first: dict[tuple[str, ...], Answer] = {}  # what was answered to each reading request
        self.server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator["FaultProxy"]:
        """Serve until the block ends."""
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def forward(self, request: "_Handler", body: bytes) -> Answer:
        """Ask the server."""
        connection = HTTPConnection(*self.address, timeout=30)
        try:
            connection.putrequest(request.command, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    connection.putheader(name, value)
            connection.putheader("Connection", "close")
            connection.endheaders(body or None)
            response = connection.getresponse()
            skipped = ("transfer-encoding", "connection", "content-length", "keep-alive")
            headers = [(name, value) for name, value in response.getheaders() if name.lower() not in skipped]
            length = response.headers.get("Content-Length", "0")
            content = response.read()
            headers.append(("Content-Length", length if request.command == "HEAD" else str(len(content))))
            return Answer(response.status, response.reason, headers, content)
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def shutdown_request(self, request: Any) -> None:
        request.close()  # without the polite FIN that would come before a reset

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hung up


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy

    def _serve(self) -> None:
        proxy, length = self.proxy, int(self.headers.get("Content-Length") or 0)
        fault = proxy.schedule.fault(self.command, self.path)
        if fault in ("reset", "kill"):
            if fault == "kill":
                proxy.kill()
            return self._reset()
        if fault == "reset_upload":
            self.rfile.read(length // 2)
            return self._reset()
        body = self.rfile.read(length)
        if fault == "flipped_upload":
            body = self._flipped(body)
        if fault in ERRORS:
            return self._send(_error(*ERRORS[fault]))
        if fault in ("delay", "silence"):
            time.sleep(proxy.silence if fault == "silence" else proxy.silence / 10)
        try:
            answer = proxy.forward(self, body)
            if fault == "duplicate":
                answer = proxy.forward(self, body)
        except (OSError, HTTPException):
            return self._reset()
        key = (self.command, self.path, self.headers.get("Range", ""))
        first = proxy.first.setdefault(key, answer) if self.command in ("GET", "HEAD") else answer
        if fault == "kill_after":
            proxy.kill()
        self._send(self._spoiled(fault, answer, first), fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _spoiled(self, fault: str, answer: Answer, first: Answer) -> Answer:
        """Return what the client is told instead."""
        if fault == "stale":
            return first
        if fault == "foreign":
            page = b"<html><body>Please log in to this network.</body></html>"
            return Answer(200, "OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))], page)
        if fault == "flipped_bit":
            return Answer(answer.status, answer.reason, answer.headers, self._flipped(answer.body))
        others = [seen.body for (_, path, _), seen in self.proxy.first.items() if path != self.path and seen.body]
        if fault == "other_body" and others and answer.status < 300:
            other = self.proxy.schedule.draw.choice(others)
            kept = [(name, value) for name, value in answer.headers if name != "Content-Length"]
            return Answer(answer.status, answer.reason, [*kept, ("Content-Length", str(len(other)))], other)
        return answer

    def _flipped(self, body: bytes) -> bytes:
        spoiled = bytearray(body)
        if spoiled:
            spoiled[self.proxy.schedule.draw.randrange(len(spoiled))] ^= 1 << self.proxy.schedule.draw.randrange(8)
        return bytes(spoiled)

    def _send(self, answer: Answer, fault: str = "") -> None:
        if fault in ("reset_answer", "kill_after"):
            return self._reset()
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        cut = len(answer.body) // 2 if fault in ("reset_body", "truncated") else len(answer.body)
        self.wfile.write(answer.body[:cut])
        if fault == "truncated":
            self.close_connection = True
        return self._reset() if fault == "reset_body" else None

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:
        pass


def _error(status: int, code: str, message: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    return Answer(status, code, headers, body.encode())
