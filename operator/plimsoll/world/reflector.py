"""Keeps a local copy of one resource: list, then watch, for ever.

What it withstands, and how:

- a missed deletion: a list replaces the whole store;
- 410 Gone, as an answer or in the stream: list again;
- a silent stream: the server is asked to end each watch well before ``inactivity``
  is over, so that silence means that something is stuck; watched again from the
  last known version, and listed again after the second stream that brought nothing;
- duplicated and reordered events: versions are compared per object (``store``);
- an object that cannot be understood: reported, its last good value stays;
- any failure: exponential back-off with jitter.

It only reads. Callbacks run inside it: they must be quick and must not await.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from plimsoll.kube import (
    WATCH_INACTIVITY,
    ApiError,
    Forbidden,
    Gone,
    Kube,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    WatchEvent,
)
from plimsoll.resources import Resource
from plimsoll.world import wire
from plimsoll.world.store import Item, Key, Listener, Store

log = logging.getLogger(__name__)

BACKOFF_FIRST: Final = 0.5
BACKOFF_MAX: Final = 10.0
"""Seconds. Short, because the planning loop stands still while a reflector is blind."""
RETRY_AFTER_MAX: Final = 60.0
_LONG: Final = 5.0


class Meta(Protocol):
    """What is read of an object's metadata."""

    @property
    def name(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> str: ...


class HasMeta(Protocol):
    """Any object of the API."""

    @property
    def metadata(self) -> Meta: ...


T = TypeVar("T", bound=HasMeta)
Decode = Callable[[msgspec.Raw], T]
"""Raises ``ValueError`` (as msgspec's and pydantic's errors are) for what it cannot read."""

_meta_decoder = msgspec.json.Decoder(wire.Object)


class Reflector(Generic[T]):
    """The local copy of one resource. ``run`` keeps it; everything else reads it."""

    def __init__(
        self,
        kube: Kube,
        resource: Resource,
        decode: Decode[T],
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        page_size: int = 500,
        inactivity: float = WATCH_INACTIVITY,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.resource = resource
        self.store: Store[T] = Store()
        self.problem = ""
        """Why nothing can be read at the moment; empty: it can."""
        self._kube = kube
        self._decode = decode
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._page_size = page_size
        self._inactivity = inactivity
        self._clock = clock
        self._sleep = sleep
        self._rand = rand
        self._alive = clock()
        self._resume = ""  # version to watch from; empty: list first
        self._failures = 0  # attempts in a row whose stream brought nothing
        self._silences = 0
        self._synced = asyncio.Event()
        self._waiters: list[tuple[Key, int, asyncio.Future[None]]] = []

    # Reading it

    @property
    def synced(self) -> bool:
        """Whether a complete list has been taken in, and reading is still permitted."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Returns when ``synced``; bound it with ``asyncio.timeout``."""
        await self._synced.wait()

    def age(self) -> float:
        """Seconds since the server last sent anything. Stuck: three times ``inactivity``."""
        return self._clock() - self._alive

    def on_change(self, listener: Listener[T]) -> None:
        """Calls ``listener(key, old, new)`` after every change of the store."""
        self.store.on_change(listener)

    async def wait_for(
        self, namespace: str, name: str, resource_version: str, timeout: float = 30.0
    ) -> None:
        """The own-writes barrier: returns when this version, or a later one, has been seen.

        A later deletion counts. Call it after a write and before the next decision.

        Raises:
            TimeoutError: it was not seen within ``timeout`` seconds.
        """
        key, version = Key(namespace, name), int(resource_version)
        if self.store.has_seen(key, version):
            return
        waiter = (key, version, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter[2]
        finally:
            self._waiters.remove(waiter)

    # Keeping it

    async def run(self) -> None:
        """Keeps the store up to date until cancelled. Failures are retried for ever."""
        while True:
            wait = 0.0
            self._failures += 1
            try:
                if not self._resume:
                    await self._list()
                if not await self._watch():
                    self._silent()
            except Gone as error:
                log.info("%s: listing again: %s", self.resource, error)
                self._resume = ""
            except ApiError as error:
                self._fail(error)
                wait = min(error.retry_after or 0.0, RETRY_AFTER_MAX)
            except ValueError as error:
                self._fail(ApiError(200, "Undecodable", f"{self.resource}: {error}"))
            await self._sleep(max(wait, self._backoff()))

    def _backoff(self) -> float:
        """Seconds before the next attempt; one fruitless attempt is no reason to wait."""
        if self._failures <= 1:
            return 0.0
        full = min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(self._failures - 2, 32))
        return full * (0.5 + self._rand() / 2)

    def _fail(self, error: ApiError) -> None:
        if error.reason == "Timeout":
            self._silent()
        if isinstance(error, NotFound):
            self.problem = (
                f"the API server does not serve {self.resource} ({self.resource.api_version}): "
                "install it"
            )
        else:
            self.problem = str(error)
        if isinstance(error, NotFound | Forbidden | Unauthorized):
            self._synced.clear()  # what is known grows old, and no end is in sight
        resumable = isinstance(error, Unreachable | TooManyRequests)
        if not resumable:
            self._resume = ""
        level = logging.INFO if resumable and self._failures <= 1 else logging.WARNING
        log.log(level, "%s: %s", self.resource, self.problem)

    def _silent(self) -> None:
        """A stream brought nothing. An idle resource is like that too, so listing is cheap."""
        self._silences += 1
        if self._silences >= 2:
            self._resume = ""

    async def _list(self) -> None:
        items: list[Item[T]] = []
        version = "0"
        pages = self._kube.list_pages(
            self.resource,
            self._namespace,
            limit=self._page_size,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            type=msgspec.Raw,
        )
        async for page in pages:
            if page.first:
                items.clear()
            items += [item for raw in page.items if (item := self.read(raw))]
            version = page.resource_version
            self._alive = self._clock()
        self.store.replace(items, _version(version))
        self._resume = version
        self._silences = 0
        self.problem = ""
        self._synced.set()
        self._wake()

    async def _watch(self) -> bool:
        """Follows one stream to its end; whether it brought anything."""
        began = self._clock()
        try:
            return await self._follow()
        finally:
            if self._clock() - began >= _LONG:
                self._failures = 0  # a stream that lived needs no pause before the next

    async def _follow(self) -> bool:
        brought = False
        # Spread, so that the watches of many resources do not end together.
        seconds = max(1, round(self._inactivity * (0.5 + self._rand() / 4)))
        async with self._kube.watch(
            self.resource,
            self._resume,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            timeout_seconds=seconds,
            inactivity=self._inactivity,
        ) as events:
            self.problem = ""
            async for event in events:
                self._alive = self._clock()
                self._failures = self._silences = 0
                self._take(event)
                self._wake()
                brought = True
        return brought

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            version = _meta_decoder.decode(event.object).metadata.resource_version
            self.store.bookmark(_version(version))
            self._resume = _newest(self._resume, version)
            return
        item = self.read(event.object)
        if item is None:
            return
        if event.type == "DELETED":
            self.store.remove(item)
        else:
            self.store.put(item)
        self._resume = _newest(self._resume, str(item.version))

    def read(self, raw: msgspec.Raw) -> Item[T] | None:
        """The object as the store takes it; None if not even its identity can be read."""
        try:
            value = self._decode(raw)
            return Item(*_identity(value), value)
        except ValueError as error:
            problem = f"{self.resource.kind} cannot be understood: {error}"
        try:
            item: Item[T] = Item(*_identity(_meta_decoder.decode(raw)), None, problem)
        except ValueError:
            log.error("%s: object without identity skipped: %s", self.resource, problem)
            return None
        log.error("%s %s skipped: %s", self.resource.kind, item.key, problem)
        return item

    def _wake(self) -> None:
        for key, version, future in self._waiters:
            if not future.done() and self.store.has_seen(key, version):
                future.set_result(None)


def _identity(obj: HasMeta) -> tuple[Key, str, int]:
    meta = obj.metadata
    if not meta.name:
        raise ValueError("metadata.name is missing")
    return Key(meta.namespace or "", meta.name), meta.uid, _version(meta.resource_version)


def _version(text: str) -> int:
    """``resourceVersion`` as a number: comparable within a resource since Kubernetes 1.35.

    Raises:
        ValueError: it is no number.
    """
    return int(text)


def _newest(one: str, other: str) -> str:
    return max(one, other, key=_version)
