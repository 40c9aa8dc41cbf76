"""A small API server that fails to order, for tests of the client and the reflector.

It keeps objects of one resource (pods) with a history of events, and serves
LIST with limit and continue, WATCH, and scripted failures. It leaves out
everything else: authentication, TLS, selectors, other resources, validation,
and writes over HTTP (tests write through its methods). What a real API server
does is tested against a real one, in ``tests/cluster``.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

POD_PATH = "/api/v1/pods"


class FaultyApi:
    """The server. Attributes order its next faults."""

    def __init__(self) -> None:
        self.version = 10
        self.objects: dict[str, dict[str, Any]] = {}
        self.history: list[tuple[int, dict[str, Any]]] = []
        self.compacted = 0
        """Watches from before this version get 410."""
        self.gone_in_stream = False
        """That 410 comes as an ERROR event and not as an answer."""
        self.deaf = False
        """Watches are opened but bring nothing."""
        self.expire_continue = 0
        """So many continue tokens are refused as expired."""
        self.answers: deque[web.Response] = deque()
        """The next requests get these instead."""
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self._streams: list[asyncio.Queue[bytes | None]] = []

    # What happens in the cluster

    def put(self, name: str, uid: str = "", **fields: Any) -> dict[str, Any]:
        """Creates or modifies a pod."""
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.version += 1
        obj = pod(name, self.version, uid or f"uid-{name}", **fields)
        self.objects[name] = obj
        self._record(kind, obj)
        return obj

    def remove(self, name: str) -> None:
        """Deletes a pod."""
        self.version += 1
        obj = self.objects.pop(name)
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._record("DELETED", obj)

    def _record(self, kind: str, obj: dict[str, Any]) -> None:
        event = {"type": kind, "object": json.loads(json.dumps(obj))}
        self.history.append((self.version, event))
        if not self.deaf:
            self.send(event)

    # What happens on the wire

    def send(self, event: dict[str, Any]) -> None:
        """Sends an event to every open watch, whatever the history says."""
        self.send_bytes(json.dumps(event).encode() + b"\n")

    def send_bytes(self, data: bytes) -> None:
        """Sends anything to every open watch."""
        for stream in self._streams:
            stream.put_nowait(data)

    def bookmark(self) -> None:
        """Sends a bookmark of the present version."""
        meta = {"name": "", "resourceVersion": str(self.version)}
        self.send({"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": meta}})

    def hang_up(self) -> None:
        """Ends every open watch after what was sent."""
        for stream in self._streams:
            stream.put_nowait(None)

    @property
    def watches(self) -> int:
        """Open watches."""
        return len(self._streams)

    def count(self, *, watch: bool) -> int:
        """LIST or WATCH requests so far."""
        return sum(1 for r in self.requests if ("watch" in r.query) is watch)

    @asynccontextmanager
    async def serve(self, folder: Path) -> AsyncIterator[str]:
        """Serves on a free port of the loopback; the path of a kubeconfig for it."""
        server = web.Server(self._handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            yield write_kubeconfig(folder / "kubeconfig", f"http://{host}:{port}")
        finally:
            self.hang_up()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)  # type: ignore[arg-type]
        self.bodies.append(await request.read())
        if self.answers:
            return self.answers.popleft()
        if request.method != "GET" or request.path != POD_PATH:
            return status(404, "NotFound", "nothing here")
        if "watch" in request.query:
            return await self._watch(request, int(request.query["resourceVersion"]))
        return self._list(request)

    def _list(self, request: web.BaseRequest) -> web.Response:
        limit = int(request.query.get("limit", 0))
        token = request.query.get("continue", "")
        if token and self.expire_continue:
            self.expire_continue -= 1
            return status(410, "Expired", "the continue token is too old")
        names = sorted(self.objects)
        start = int(token or 0)
        end = start + limit if limit else len(names)
        meta = {"resourceVersion": str(self.version)}
        if end < len(names):
            meta["continue"] = str(end)
        items = [self.objects[name] for name in names[start:end]]
        return web.json_response({"kind": "PodList", "metadata": meta, "items": items or None})

    async def _watch(self, request: web.BaseRequest, since: int) -> web.StreamResponse:
        error = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        if since < self.compacted and not self.gone_in_stream:
            return web.json_response(error, status=410)
        response = web.StreamResponse()
        await response.prepare(request)
        if since < self.compacted:
            await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
            return response
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        if not self.deaf:
            for version, event in self.history:
                if version > since:
                    stream.put_nowait(json.dumps(event).encode() + b"\n")
        self._streams.append(stream)
        try:
            while (data := await stream.get()) is not None:
                await response.write(data)
        finally:
            self._streams.remove(stream)
        return response


def pod(name: str, version: int, uid: str = "", **fields: Any) -> dict[str, Any]:
    """A pod as it is on the wire; ``fields`` go into its spec."""
    meta = {
        "name": name,
        "namespace": "default",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": fields}


def status(
    code: int, reason: str, message: str, headers: dict[str, str] | None = None, **details: Any
) -> web.Response:
    """An answer of failure, as the API server gives it."""
    body = {
        "kind": "Status",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }
    return web.json_response(body, status=code, headers=headers)


def write_kubeconfig(path: Path, server: str) -> str:
    """Writes a kubeconfig for a server without TLS and without credentials."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    path.write_text(json.dumps(config))
    return str(path)
