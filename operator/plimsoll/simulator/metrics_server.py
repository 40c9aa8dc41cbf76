"""Serves the resource metrics API to the API server's aggregator, and to nobody else.

The aggregator proves itself by the front proxy's client certificate, which is
asked for in the TLS handshake. Whether a user may read metrics the API server
has then already decided by its own RBAC, so it is not asked a second time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from plimsoll.kube import Json, Kube
from plimsoll.simulator.aggregation import FrontProxy, front_proxy, register, unregister
from plimsoll.simulator.certificate import server_context
from plimsoll.simulator.metrics import API_VERSION, Filter, Metrics
from plimsoll.simulator.selector import parse_selector

log = logging.getLogger(__name__)

SERVICE: Final = "plimsoll-simulator-metrics"
STOP_SECONDS: Final = 5.0
"""What an answer that is under way may take after the stop was asked for."""
_GROUP: Final = API_VERSION.partition("/")[0]
_ROOT: Final = f"/apis/{API_VERSION}"
_PROXY: Final[web.AppKey[FrontProxy]] = web.AppKey("proxy", FrontProxy)
_METRICS: Final[web.AppKey[Metrics]] = web.AppKey("metrics", Metrics)
_FIELDS: Final = ("metadata.name", "metadata.namespace")


async def serve_metrics(
    kube: Kube,
    namespace: str,
    stop: asyncio.Event,
    *,
    address: str = "localhost",
    port: int = 0,
    keep: bool = False,
) -> None:
    """Serves and registers the metrics API until ``stop`` is set.

    ``address`` is the name or IP at which the API server reaches this process,
    ``port`` where it listens (0: any free one). Unless ``keep``, the registration
    is taken back at the end.

    Raises:
        aggregation.Occupied: another metrics server is registered.
    """
    metrics = Metrics(kube)
    proxy = await front_proxy(kube)
    context, certificate = server_context(f"{SERVICE}.{namespace}.svc", proxy.ca)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(metrics.run())
        if await _unless(stop, metrics.wait_ready()):
            async with _listening(application(metrics, proxy), context, address, port) as bound:
                await register(kube, SERVICE, namespace, address, bound, certificate)
                log.info("serving %s at %s:%d", API_VERSION, address, bound)
                await stop.wait()
                if not keep:
                    await unregister(kube, SERVICE, namespace, certificate)
        reading.cancel()


async def _unless(stop: asyncio.Event, awaited: Coroutine[Any, Any, None]) -> bool:
    """Whether what is awaited came before the stop."""
    task, stopping = asyncio.create_task(awaited), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        return task.done()
    finally:
        task.cancel()
        stopping.cancel()


def application(metrics: Metrics, proxy: FrontProxy) -> web.Application:
    """The HTTP application: discovery, lists and single objects."""
    app = web.Application(middlewares=[_guarded])
    app[_PROXY] = proxy
    app[_METRICS] = metrics
    app.add_routes(
        [
            web.get(f"/apis/{_GROUP}", _group),
            web.get(_ROOT, _resources),
            web.get(f"{_ROOT}/nodes", _nodes),
            web.get(f"{_ROOT}/nodes/{{name}}", _nodes),
            web.get(f"{_ROOT}/pods", _pods),
            web.get(f"{_ROOT}/namespaces/{{namespace}}/pods", _pods),
            web.get(f"{_ROOT}/namespaces/{{namespace}}/pods/{{name}}", _pods),
        ]
    )
    return app


@asynccontextmanager
async def _listening(
    app: web.Application, context: ssl.SSLContext, address: str, port: int
) -> AsyncIterator[int]:
    """Serves the application; yields the port."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        host = "127.0.0.1" if address == "localhost" else address
        site = web.TCPSite(runner, host, port, ssl_context=context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@web.middleware
async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Any]
) -> web.StreamResponse:
    """Answers the aggregator alone, and with a ``Status`` whatever goes wrong."""
    certificate = request.transport and request.transport.get_extra_info("peercert")
    if not request.app[_PROXY].admits(certificate or {}):
        return _status(403, "Forbidden", "only the API server's aggregator is answered here")
    if not request.app[_METRICS].ready:
        return _status(503, "ServiceUnavailable", "what is to be measured is not known at present")
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPMethodNotAllowed:
        return _status(405, "MethodNotAllowed", f"{request.method} is not supported")
    except web.HTTPException as error:
        return _status(error.status, "NotFound", f"{request.path}: {error.reason}")
    except ValueError as error:
        return _status(400, "BadRequest", str(error))
    return response


async def _group(_: web.Request) -> web.Response:
    version = {"groupVersion": API_VERSION, "version": API_VERSION.partition("/")[2]}
    return web.json_response(
        {
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": _GROUP,
            "versions": [version],
            "preferredVersion": version,
        }
    )


async def _resources(_: web.Request) -> web.Response:
    def resource(name: str, kind: str, namespaced: bool) -> Json:
        verbs = ["get", "list"]
        return {
            "name": name,
            "singularName": "",
            "namespaced": namespaced,
            "kind": kind,
            "verbs": verbs,
        }

    return web.json_response(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": API_VERSION,
            "resources": [
                resource("nodes", "NodeMetrics", False),
                resource("pods", "PodMetrics", True),
            ],
        }
    )


async def _nodes(request: web.Request) -> web.Response:
    return _answer(request, "NodeMetrics", request.app[_METRICS].node_metrics)


async def _pods(request: web.Request) -> web.Response:
    return _answer(request, "PodMetrics", request.app[_METRICS].pod_metrics)


def _answer(
    request: web.Request, kind: str, measure: Callable[[Filter], list[Json]]
) -> web.Response:
    """A list, or the one object that the path names."""
    name = request.match_info.get("name")
    fields = _fields(request.query.get("fieldSelector", ""))
    found = measure(
        Filter(
            namespace=request.match_info.get("namespace", ""),
            labels=parse_selector(request.query.get("labelSelector", "")),
            fields=fields | ({"metadata.name": name} if name else {}),
        )
    )
    if request.query.get("watch") in ("1", "true"):
        return _status(405, "MethodNotAllowed", f"{kind} cannot be watched: measurements pass")
    if not name:
        items = {"kind": f"{kind}List", "apiVersion": API_VERSION, "metadata": {}, "items": found}
        return web.json_response(items)
    if not found:
        return _status(404, "NotFound", f"{kind} {name!r} not found")
    return web.json_response(found[0])


def _fields(text: str) -> dict[str, str]:
    """``metadata.name=x,metadata.namespace=y`` as a mapping."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.replace("==", "=").partition("=")
        if name not in _FIELDS:
            raise ValueError(f"{name!r} is not a field to select by: give {' or '.join(_FIELDS)}")
        found[name] = value
    return found


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
    return web.json_response(body, status=code)
