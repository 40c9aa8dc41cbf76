"""Thin asynchronous client of the Kubernetes API.

The official client supplies configuration, authentication, TLS and the pooled
session; its typed models are left out, because they cost more than the decision
itself (design, section 7). Answers are dicts, or msgspec structs where a type is
asked for. Every request is bounded in time. Only one thing is ever repeated by
itself: a request that the server refused with 429 and a ``Retry-After``, which
therefore had no effect.

A ``Kube`` belongs to the event loop in which it was entered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar, cast, overload
from urllib.parse import urlencode

import aiohttp
import msgspec

from plimsoll import __version__
from plimsoll.apierrors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    error_of,
    unreachable,
)
from plimsoll.connections import Connections
from plimsoll.kubeconfig import NoCluster, load
from plimsoll.resources import PODS, Resource, resource_of

__all__ = [
    "AlreadyExists",
    "ApiError",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "Json",
    "Kube",
    "NoCluster",
    "NotFound",
    "Page",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "WatchEvent",
    "decode",
]

T = TypeVar("T")
Json = dict[str, Any]
PatchKind = Literal["merge", "strategic", "json", "apply"]

REQUEST_TIMEOUT: Final = 30.0
"""Seconds for one request, unless the caller says otherwise."""
WATCH_SECONDS: Final = 40
"""Seconds after which the server is asked to end a watch: a sign of life, whatever happens."""
WATCH_INACTIVITY: Final = 60.0
"""Seconds without a byte after which a watch is given up; well above ``WATCH_SECONDS``."""
PAGE_SIZE: Final = 500
_RETRY_AFTER_MAX: Final = 10.0
_RETRY_AFTER_TRIES: Final = 3
_CONTENT_TYPES: Final[dict[PatchKind, str]] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class Page(NamedTuple):
    """One page of a list."""

    items: list[Any]
    resource_version: str
    """Of the whole list; the same on every page of one pass."""
    first: bool
    """First page of a pass: whatever earlier pages brought is void."""


class WatchEvent(NamedTuple):
    """One event of a watch: ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``."""

    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


_list_decoder = msgspec.json.Decoder(_List)
_line_decoder = msgspec.json.Decoder(_Line)


@lru_cache(maxsize=64)
def _decoder(type_: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast(type[Any], type_))


def decode(data: bytes | msgspec.Raw, type: type[T]) -> T:
    """JSON as the given type.

    Raises:
        msgspec.ValidationError: it is JSON, but not of that type.
        msgspec.DecodeError: it is no JSON.
    """
    result: T = _decoder(cast(Hashable, type)).decode(data)
    return result


class Kube:
    """The Kubernetes API, as far as Plimsoll needs it. Use as an async context manager."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._client: Any = None

    @classmethod
    def from_environment(cls, kubeconfig: str | None = None, context: str | None = None) -> Kube:
        """A client for the cluster that the environment points at; see ``kubeconfig.load``.

        Nothing is read before it is entered (which may raise ``NoCluster``).
        """
        return cls(kubeconfig, context)

    async def __aenter__(self) -> Self:
        from kubernetes.aio.client import ApiClient  # slow to import, and not needed offline

        configuration = await load(self._kubeconfig, self._context)
        self._client = ApiClient(configuration=configuration)
        self._connections = Connections(
            self._client.rest_client.ssl_context, configuration.connection_pool_maxsize
        )
        configuration.client_session_kwargs = {"connector": self._connections.connector}
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()
        await self._connections.close()

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._client.configuration.host)

    @property
    def certificate_authority(self) -> str:
        """Path of the CA by which the API server is known; empty: those of the system."""
        return str(self._client.configuration.ssl_ca_cert or "")

    # Reading

    @overload
    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Json: ...

    @overload
    async def get(
        self, resource: Resource, name: str, namespace: str | None = None, *, type: type[T]
    ) -> T: ...

    async def get(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        type: Any = Json,
    ) -> Any:
        """One object, live (never from a cache)."""
        return self._decode(await self.raw("GET", resource.path(namespace, name)), type)

    async def list_pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        limit: int = PAGE_SIZE,
        label_selector: str = "",
        field_selector: str = "",
        type: Any = Json,
    ) -> AsyncGenerator[Page, None]:
        """The pages of a consistent list of all objects, in all namespaces if none is given.

        When the continue token expires on the way, the list starts again (the
        page says so: ``first``), at last without a limit. ``type=msgspec.Raw``
        leaves the decoding of the items to the caller.
        """
        for size in (limit, limit, 0):
            token, first = "", True
            try:
                while first or token:
                    query = {
                        "limit": str(size) if size else "",
                        "continue": token,
                        "labelSelector": label_selector,
                        "fieldSelector": field_selector,
                    }
                    page = self._decode(
                        await self.raw("GET", resource.path(namespace), query=query), _List
                    )
                    items: list[Any] = page.items or []
                    if type is not msgspec.Raw:
                        items = [self._decode(item, type) for item in items]
                    yield Page(items, page.metadata.resource_version, first)
                    token, first = page.metadata.continue_, False
            except Gone:
                if first:
                    raise
                continue
            return

    @overload
    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> list[Json]: ...

    @overload
    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        type: type[T],
    ) -> list[T]: ...

    async def list_all(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        type: Any = Json,
    ) -> list[Any]:
        """All objects, in one list."""
        items: list[Any] = []
        async for page in self.list_pages(
            resource,
            namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            type=type,
        ):
            if page.first:
                items.clear()
            items += page.items
        return items

    @asynccontextmanager
    async def watch(
        self,
        resource: Resource,
        resource_version: str,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = WATCH_SECONDS,
        inactivity: float = WATCH_INACTIVITY,
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Events after ``resource_version``, bookmarks included, until the server ends the watch.

        Entering opens the stream; leaving closes it. A last line that is cut off
        is dropped: it comes again after a reconnect.

        Raises (on entering, and from the iterator):
            Gone: ``resource_version`` is too old: list again.
            Unreachable: no byte came for ``inactivity`` seconds, or the connection broke.
            ApiError: any other error, also those sent as an event of the stream.
        """
        what = f"watch {resource}"
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        timeout = aiohttp.ClientTimeout(
            total=timeout_seconds + inactivity, sock_connect=REQUEST_TIMEOUT, sock_read=inactivity
        )
        response = await self._open("GET", resource.path(namespace), query, None, "", timeout, what)
        events = _events(response, what)
        try:
            yield events
        finally:
            await events.aclose()
            response.close()

    # Writing

    async def create(self, obj: Json) -> Json:
        """Creates the object; returns it as stored.

        Raises:
            AlreadyExists: the name is taken.
        """
        resource, namespace, _ = _identify(obj)
        return self._decode(await self.raw("POST", resource.path(namespace), obj), Json)

    async def apply(
        self, obj: Json, field_manager: str, force: bool = False, subresource: str = ""
    ) -> Json:
        """Server-side apply: the object will have these fields, owned by ``field_manager``.

        Raises:
            Conflict: another manager owns one of the fields (see ``causes``) and not ``force``.
        """
        resource, namespace, name = _identify(obj)
        query = {"fieldManager": field_manager, "force": "true" if force else ""}
        return await self._patch("apply", resource, name, obj, namespace, subresource, query)

    async def merge_patch(
        self, resource: Resource, name: str, patch: Json, namespace: str | None = None
    ) -> Json:
        """JSON merge patch (RFC 7386). Put ``metadata.resourceVersion`` in for a precondition."""
        return await self._patch("merge", resource, name, patch, namespace)

    async def json_patch(
        self,
        resource: Resource,
        name: str,
        patch: Sequence[Json],
        namespace: str | None = None,
        subresource: str = "",
    ) -> Json:
        """JSON patch (RFC 6902); its ``test`` operations are preconditions (``Invalid``)."""
        return await self._patch("json", resource, name, list(patch), namespace, subresource)

    async def patch_status(
        self, resource: Resource, name: str, status: Json, namespace: str | None = None
    ) -> Json:
        """Merges ``status`` into the object's status."""
        return await self._patch(
            "merge", resource, name, {"status": status}, namespace, subresource="status"
        )

    async def patch_subresource(
        self,
        resource: Resource,
        name: str,
        subresource: str,
        patch: Json,
        namespace: str | None = None,
        kind: PatchKind = "strategic",
    ) -> Json:
        """Patches a subresource (``resize``, ``scale`` ...); lists merge by key if strategic.

        Kinds of custom resources know no strategic patch: use ``merge`` there.
        """
        return await self._patch(kind, resource, name, patch, namespace, subresource)

    async def delete(
        self,
        resource: Resource,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        grace_seconds: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] | None = None,
    ) -> None:
        """Starts the deletion of the object.

        Raises:
            NotFound: there is none.
            Conflict: the object has another uid or resourceVersion.
        """
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if any(preconditions.values()):
            options["preconditions"] = {k: v for k, v in preconditions.items() if v}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self.raw("DELETE", resource.path(namespace, name), options)

    async def evict(self, pod: str, namespace: str, uid: str) -> None:
        """Evicts the pod through the Eviction API, if it still has that UID.

        Raises:
            NotFound: there is no such pod.
            Conflict: a pod of that name has another UID.
            TooManyRequests: a disruption budget allows no eviction now. Never waited for here.
        """
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        path = PODS.path(namespace, pod, "eviction")
        await self.raw("POST", path, body, retry_after=False)

    async def raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: float = REQUEST_TIMEOUT,
        retry_after: bool = True,
    ) -> bytes:
        """Any request; returns the body of a successful answer.

        ``timeout`` bounds one attempt, in seconds. With ``retry_after`` a 429
        that names a time is tried again (at most three times, 10 s each).
        """
        what = f"{method} {path}"
        limit = aiohttp.ClientTimeout(total=timeout)
        for last in (*(False,) * _RETRY_AFTER_TRIES, True):
            try:
                response = await self._open(method, path, query, body, content_type, limit, what)
                try:
                    return await response.read()
                except (aiohttp.ClientError, TimeoutError, OSError) as error:
                    raise unreachable(what, error) from error
                finally:
                    response.release()
            except TooManyRequests as error:
                if last or not retry_after or error.retry_after is None:
                    raise
                await asyncio.sleep(min(error.retry_after, _RETRY_AFTER_MAX))
        raise AssertionError("the last attempt returns or raises")

    async def _patch(
        self,
        kind: PatchKind,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str | None,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        path = resource.path(namespace, name, subresource)
        data = await self.raw("PATCH", path, body, query=query, content_type=_CONTENT_TYPES[kind])
        return self._decode(data, Json)

    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Any,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        what: str,
    ) -> aiohttp.ClientResponse:
        """Sends the request; returns the open response of a success, raises for anything else."""
        headers = {"User-Agent": f"plimsoll/{__version__}", "Accept": "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        given = {key: value for key, value in (query or {}).items() if value}
        url = self.server + path + (f"?{urlencode(given)}" if given else "")
        try:
            token = await self._client.configuration.get_api_key_with_prefix("BearerToken")
            if token:
                headers["Authorization"] = token
            answer = await self._client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status < 300:
                return response
            try:
                data = await response.read()
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(what, error) from error
        raise error_of(response.status, data, what, _seconds(response.headers.get("Retry-After")))

    @staticmethod
    def _decode(data: bytes | msgspec.Raw, type_: type[T]) -> T:
        try:
            return decode(data, type_)
        except msgspec.MsgspecError as error:
            raise ApiError(
                200, "Undecodable", f"the server's answer cannot be read: {error}"
            ) from error


def _identify(obj: Json) -> tuple[Resource, str | None, str]:
    resource = resource_of(obj)
    meta = obj.get("metadata") or {}
    return resource, meta.get("namespace"), meta.get("name", "")


async def _events(response: aiohttp.ClientResponse, what: str) -> AsyncGenerator[WatchEvent, None]:
    rest = b""
    try:
        async for chunk in response.content.iter_any():
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _event(line, what)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise unreachable(what, error) from error


def _event(line: bytes, what: str) -> WatchEvent:
    try:
        event = _line_decoder.decode(line)
    except msgspec.MsgspecError as error:
        raise ApiError(200, "Undecodable", f"{what}: unreadable event: {error}") from error
    if event.type == "ERROR":
        raise error_of(200, event.object, what)
    return WatchEvent(event.type, event.object)


def _seconds(header: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header; its date form is not used by Kubernetes."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
