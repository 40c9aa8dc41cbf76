"""A reverse proxy before the API server that counts writes, and tells when one has landed.

A write is answered to the operator only after ``on_write`` has returned. Whoever
kills the operator there kills it at the worst moment: what it asked for has
happened, and it never learns so.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from multidict import CIMultiDict

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
NO_WRITES = ("selfsubjectaccessreviews", "events")
"""Collections that are posted to without anything resting on it: questions, and Events."""
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


class KillingProxy:
    """``writes`` are those that have reached the API server, ``METHOD path`` each."""

    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        self._server = server
        self._tls = tls
        self.writes: list[str] = []
        self.on_write: Callable[[int], Awaitable[None]] | None = None
        """Gets the number of the write, from 1."""
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = CIMultiDict(
            (k, v) for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP
        )
        async with self._session.request(
            request.method,
            self._server + request.raw_path,
            headers=headers,
            data=await request.read() or None,
            skip_auto_headers=("Content-Type", "User-Agent"),
            ssl=self._tls,
        ) as upstream:
            if request.method in WRITES and request.path.rpartition("/")[2] not in NO_WRITES:
                body = await upstream.read()
                if upstream.status < 300:
                    await self._landed(f"{request.method} {request.path}")
                return web.Response(status=upstream.status, body=body, headers=_answer(upstream))
            response = web.StreamResponse(status=upstream.status, headers=_answer(upstream))
            with suppress(ConnectionError):  # the operator is gone
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
            return response

    async def _landed(self, what: str) -> None:
        self.writes.append(what)
        if self.on_write is not None:
            # Shielded: killing the operator breaks the connection that this answers.
            await asyncio.shield(self.on_write(len(self.writes)))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Listens on a free port of the loopback."""
        no_limit = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(timeout=no_limit, auto_decompress=False) as self._session:
            app = web.Application(handler_args={"handler_cancellation": True})
            app.router.add_route("*", "/{path:.*}", self.handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = "http://{}:{}".format(*runner.addresses[0][:2])
            try:
                yield
            finally:
                await runner.cleanup()


def proxy_for(kubeconfig: Path) -> KillingProxy:
    """A proxy before the API server that a kubeconfig names. Credentials are the caller's."""
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = cluster.get("certificate-authority-data")
    tls = ssl.create_default_context(
        cafile=cluster.get("certificate-authority"),
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    return KillingProxy(cluster["server"], tls)


def _answer(upstream: aiohttp.ClientResponse) -> CIMultiDict[str]:
    return CIMultiDict((k, v) for k, v in upstream.headers.items() if k.lower() not in _HOP_BY_HOP)
