"""Gives work to the replicas of the story, and so makes their load.

Each workload has a rate: milliseconds of CPU time a second, which is millicores. What nobody takes
in time is lost, as requests are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

_PIECE: Final = 200
"""Milliseconds of CPU time that are given out at once, at most."""
_KEPT_SECONDS: Final = 3.0
"""For how long work waits to be taken."""
_MEMORY_SECONDS: Final = 300.0
IMAGE_PATH: Final = "/image.tar"


class Queue:
    """The work of one workload."""

    def __init__(self) -> None:
        self.rate = 0
        """Millicores."""
        self._credit = 0.0
        self._filled = time.monotonic()
        self._done: deque[tuple[float, int]] = deque()

    def take(self, done: int) -> int:
        """Note what was done, and give out a piece: milliseconds of CPU time."""
        now = time.monotonic()
        self._done.append((now, done))
        while self._done[0][0] < now - _MEMORY_SECONDS:
            self._done.popleft()
        self._credit += (now - self._filled) * self.rate
        self._credit = min(self._credit, self.rate * _KEPT_SECONDS)
        self._filled = now
        piece = min(_PIECE, int(self._credit))
        self._credit -= piece
        return piece

    def served(self, seconds: float) -> int:
        """Millicores of work that were done in the last so many seconds."""
        since = time.monotonic() - seconds
        return round(sum(done for at, done in list(self._done) if at >= since) / seconds)


class Office:
    """Serves work, and the container image of those who do it. Use it as a context manager."""

    def __init__(self, address: str, image: bytes) -> None:
        self._queues: dict[str, Queue] = {}
        self._lock = threading.Lock()
        office = self

        class Handler(BaseHTTPRequestHandler):
            # A connection is kept: a replica comes several times a second.
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                if asked.path == IMAGE_PATH:
                    return self._answer(image)
                done = int(parse_qs(asked.query).get("done", ["0"])[0])
                return self._answer(f"{office._take(asked.path.strip('/'), done)}\n".encode())

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((address, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://{address}:{self._server.server_address[1]}"

    def of(self, workload: str) -> Queue:
        """The work of a workload; there is none until its `rate` is set."""
        return self._queues.setdefault(workload, Queue())

    def _take(self, workload: str, done: int) -> int:
        with self._lock:
            return self.of(workload).take(done)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
