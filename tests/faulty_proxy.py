"""An HTTP proxy that fails: between a client of an object store and a server that does not, it plays a bad day.

It answers 503, is slow, breaks connections off in the middle of what is read or sent, loses answers to what was done,
and lists in small pages. Seeded. Knows the protocols of Cloud Storage and S3 no further than their listings' page size.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

FAULTS = ("busy", "slow", "cut upload", "cut download", "lost answer")
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}

Refusal = tuple[int, bytes]


class FaultyProxy:
    """Stands before ``upstream`` on a port of its own while the block runs.

    Attributes:
        address: what clients connect to, such as ``http://127.0.0.1:1234``.
        faults: how many requests met which fault.
        requests: how many there were.

    Args:
        upstream: the server's address.
        share: of requests that fail, or are slow.
        page_size: how many objects a page of a listing holds at most; None for what the client wants.
        refuse: gives status and body for a request (method, path with query) that is never let through, else None.
        after_write: called each time that the server has answered what may have changed something.
        seed: of the faults.
        delay: seconds that every request takes longer.
    """

    def __init__(
        self,
        upstream: str,
        share: float = 0.0,
        page_size: int | None = None,
        refuse: Callable[[str, str], Refusal | None] = lambda method, path: None,  # noqa: ARG005
        after_write: Callable[[], None] = lambda: None,
        seed: int = 0,
        delay: float = 0.0,
    ) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.share = share
        self.page_size = page_size
        self.delay = delay
        self.refuse = refuse
        self.after_write = after_write
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self.pieces: dict[tuple[str, str | None], tuple[int, dict[str, str], bytes]] = {}
        self._chosen = random.Random(seed)  # noqa: S311 (no secret)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    def next_fault(self) -> str | None:
        with self._lock:
            self.requests += 1
            fault = self._chosen.choice(FAULTS) if self._chosen.random() < self.share else None
            if fault:
                self.faults[fault] += 1
            return fault

    def __enter__(self) -> FaultyProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler_for(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # who has read enough hangs up
                super().handle()

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            refusal = proxy.refuse(self.command, self.path)
            fault = None if refusal else proxy.next_fault()
            if fault == "cut upload" and length:
                self.rfile.read(length // 2)
                self._cut()
                return
            body = self.rfile.read(length)
            if refusal or fault in ("busy", "cut upload"):
                self._answer(*(refusal or (503, b"")), {})
                return
            time.sleep(proxy.delay + 0.3 * (fault == "slow"))
            status, headers, data = self._forward_once(body)
            if fault == "lost answer":
                self._cut()
            else:
                self._answer(status, data, headers, cut=fault == "cut download")

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

        def _forward_once(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            """As Cloud Storage does, a piece of a resumable upload that is sent again is not taken again."""
            piece = self.path, self.headers.get("Content-Range")
            if self.command != "PUT" or not piece[1]:
                return self._forward(body)
            if piece not in proxy.pieces:
                proxy.pieces[piece] = self._forward(body)
            return proxy.pieces[piece]

        def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            connection = http.client.HTTPConnection(proxy.upstream, timeout=60)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "expect"}
            with contextlib.suppress(BrokenPipeError):  # it has answered before it has read everything
                connection.request(self.command, self._in_small_pages(), body or None, headers)
            with connection.getresponse() as response:
                data = response.read()
                answered = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
            connection.close()
            if self.command == "HEAD":
                answered["Content-Length"] = response.headers.get("Content-Length", "0")
            if "Location" in answered:  # where the pieces of an upload go
                answered["Location"] = answered["Location"].replace(proxy.upstream, urlsplit(proxy.address).netloc)
            if self.command not in ("GET", "HEAD"):
                proxy.after_write()
            return response.status, answered, data

        def _in_small_pages(self) -> str:
            url = urlsplit(self.path)
            query = dict(parse_qsl(url.query, keep_blank_values=True))
            if proxy.page_size and self.command == "GET":
                if url.path.endswith("/o"):
                    query["maxResults"] = str(proxy.page_size)
                elif "list-type" in query:
                    query["max-keys"] = str(proxy.page_size)
                return url._replace(query=urlencode(query)).geturl()
            return self.path

        def _answer(self, status: int, data: bytes, headers: dict[str, str], cut: bool = False) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[: len(data) // 2] if cut else data)
            if cut:
                self._cut()

        def _cut(self) -> None:
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    return Handler
