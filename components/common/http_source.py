"""Objects on http and https servers, by ranges where the server knows them."""

import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import Conflict, NotFound
from kfp_textclf.components.common.sources import Answer, Interrupted, Source

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_SECONDS, SILENT_SECONDS = 10, 60
REDIRECTS = 5
LONGEST_WAIT = 30.0  # seconds that a server may ask for
TRANSIENT = {408, 425, 429, 500, 502, 503, 504}


class HttpSource(Source):
    """One object by its address. Proxies come from the environment, as for curl."""

    def __init__(self, uri: str) -> None:
        """Name an object; nothing is asked yet."""
        from urllib3.exceptions import HTTPError

        self.address = uri
        self.uri = re.sub(r"(?<=://)[^/?#]*@|[?#].*", "", uri)  # for messages: no passwords, no signatures
        self.interruptions = (HTTPError, OSError)

    def open(self, start: int, stop: int | None, tag: str) -> Answer:  # noqa: D102  (as the interface says)
        headers = {"Accept-Encoding": "identity"}  # the pinned bytes are those of the object, not of a packed copy
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
            if tag and not tag.startswith("W/"):
                headers["If-Range"] = tag
        answer = self._request(headers)
        found = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        if (answer.status in (200, 206) and tag and found and found != tag) or answer.status == 412:
            answer.close()
            raise Conflict(f"{self.uri} was changed by somebody else meanwhile")
        if answer.status == 200:
            length = answer.headers.get("Content-Length", "")
            return Answer(answer, 0, int(length) if length.isdecimal() else None, found, in_parts=False)
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and span and int(span[1]) == start:
            return Answer(answer, start, int(span[2]), found, in_parts=True)
        answer.close()
        if answer.status in (206, 416) and not start and "Range" in headers:  # such as a range of an empty object
            return self.open(0, None, tag)
        raise self._refusal(answer)

    def _request(self, headers: dict[str, str]) -> "BaseHTTPResponse":
        from urllib3 import Retry
        from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ResponseError

        try:
            return _pool(self.uri).request(
                "GET",
                self.address,
                headers=headers,
                preload_content=False,
                decode_content=False,
                retries=Retry(
                    connect=0, read=0, status=0, other=0, redirect=REDIRECTS, respect_retry_after_header=False
                ),
            )
        except (LocationValueError, ValueError) as error:  # a malformed address, or a redirection to another scheme
            raise UserError(f"{self.uri} cannot be read ({error}); correct the address") from error
        except (HTTPError, OSError) as error:
            reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
            if isinstance(reason, ResponseError) or "certificate verify failed" in str(reason).lower():
                raise UserError(f"{self.uri} cannot be read ({reason}); check the store") from error
            raise Interrupted(str(reason)) from error

    def _refusal(self, answer: "BaseHTTPResponse") -> Exception:
        said = f"answers {answer.status} {answer.reason or ''}".strip()
        if answer.status in TRANSIENT or answer.status == 206:
            wait = answer.headers.get("Retry-After", "")
            return Interrupted(said, min(float(wait), LONGEST_WAIT) if wait.isdecimal() else 0.0)
        if answer.status == 416:
            return Conflict(f"{self.uri} was changed by somebody else meanwhile")
        kind = NotFound if answer.status in (404, 410) else UserError
        return kind(f"{self.uri} {said}; check the store")


def _pool(uri: str) -> "PoolManager":
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(uri)
    host = parts.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
    return _pool_through(proxy)


@cache
def _pool_through(proxy: str | None) -> "PoolManager":
    from urllib3 import PoolManager, ProxyManager, Timeout

    options: dict[str, Any] = {"timeout": Timeout(CONNECT_SECONDS, SILENT_SECONDS), "maxsize": 16}
    return ProxyManager(proxy, **options) if proxy else PoolManager(**options)
