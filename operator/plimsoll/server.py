"""HTTP: /healthz, /readyz and /metrics."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

log = logging.getLogger(__name__)

Probe = Callable[[], Iterable[str]]
"""What is wrong, one finding a line; nothing: all is well."""


class HttpServer:
    """Serves until closed."""

    def __init__(self, live: Probe, ready: Probe, metrics: CollectorRegistry) -> None:
        self._metrics = metrics
        app = web.Application()
        app.router.add_get("/healthz", _answering(live))
        app.router.add_get("/readyz", _answering(ready))
        app.router.add_get("/metrics", self._show_metrics)
        self._runner = web.AppRunner(app, access_log=None)

    async def start(self, host: str, port: int) -> int:
        """Listens; answers the port, which is a free one where 0 was asked for.

        Raises:
            OSError: the address is taken or not ours.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        bound: int = self._runner.addresses[0][1]
        log.info("serving /healthz, /readyz and /metrics on %s:%d", host, bound)
        return bound

    async def close(self) -> None:
        """Stops listening."""
        await self._runner.cleanup()

    async def _show_metrics(self, request: web.Request) -> web.StreamResponse:
        text = generate_latest(self._metrics)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answering(probe: Probe) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(request: web.Request) -> web.StreamResponse:
        findings = list(probe())
        return web.Response(
            status=503 if findings else 200,
            text="\n".join(findings or ["ok"]) + "\n",
            content_type="text/plain",
        )

    return answer
