"""A static HTTP server with ranges and entity tags, and with the faults of real ones."""

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    """One GET: its number among all, path, and first and last byte asked for (-1: no range)."""

    number: int
    path: str
    start: int
    stop: int
    headers: dict[str, str]


@dataclass
class RangeServer:
    """Objects by path, and what goes wrong.

    Attributes:
        objects: Content by path.
        ranges: Whether ranges are answered by 206.
        tags: Whether answers carry an ETag.
        cut: Bytes of a body after which the connection ends; None sends it whole.
        reset: Whether it ends by a reset instead of orderly.
        status: Status to answer with in place of the object.
        headers: More headers.
        before: Called before each answer, perhaps to change the above.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    reset: bool = False
    cut: Callable[[Request], int | None] = lambda request: None
    status: Callable[[Request], int] = lambda request: 200
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[Request], None] = lambda request: None
    requests: list[Request] = field(default_factory=list)
    uri: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world: RangeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(asked[1]), int(asked[2] or -1)) if asked else (-1, -1)
        request = Request(len(self.world.requests), self.path, start, stop, dict(self.headers))
        self.world.requests.append(request)
        self.world.before(request)
        content = self.world.objects.get(self.path.partition("?")[0])
        status = 404 if content is None else self.world.status(request)
        if content is None or status != 200:
            self._head(status, 0, {})
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag} if self.world.tags else {}
        if asked and self.world.ranges and self.headers.get("If-Range", tag) == tag:
            if start >= len(content):
                self._head(416, 0, {"Content-Range": f"bytes */{len(content)}"})
                return
            part = content[start : stop + 1 if stop >= 0 else None]
            headers["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            self._head(206, len(part), headers)
        else:
            part = content
            self._head(200, len(part), headers)
        self._body(part, self.world.cut(request))

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers, **self.world.headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _body(self, content: bytes, cut: int | None) -> None:
        self.wfile.write(content[:cut])
        if cut is not None and cut < len(content):
            self.wfile.flush()
            self.close_connection = True
            if self.world.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()


@contextmanager
def range_server(world: RangeServer) -> Iterator[RangeServer]:
    """Serve ``world`` on 127.0.0.1 until the block ends."""
    handler = type("Handler", (_Handler,), {"world": world})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  (clients that leave early)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    world.uri = f"http://127.0.0.1:{server.server_port}"
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
