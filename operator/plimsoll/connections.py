"""The connections of a client, closed without leaving anything behind."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import aiohttp

_GOODBYE_SECONDS: Final = 2.0


class Connections:
    """A connection pool that knows its sockets.

    A request that is cancelled leaves its TLS connection saying goodbye in the
    background; closing the pool alone does not wait for that, and the event loop
    may end first.
    """

    def __init__(self, tls: ssl.SSLContext, limit: int) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self.connector = aiohttp.TCPConnector(
            ssl=tls, limit=limit, socket_factory=self._make_socket
        )

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def close(self) -> None:
        """Closes every connection, and returns when the sockets are closed."""
        await self.connector.close()
        for one in self._open():
            with suppress(OSError):  # it may have been closed by the other side
                one.shutdown(socket.SHUT_RDWR)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                while self._open():  # noqa: ASYNC110 (sockets tell nobody that they closed)
                    await asyncio.sleep(0.001)

    def _open(self) -> list[socket.socket]:
        return [one for one in self._sockets if one.fileno() != -1]
