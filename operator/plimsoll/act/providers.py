"""The live connections to hypervisors, and what was last seen through them."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from plimsoll.api import Hypervisor
from plimsoll.apierrors import NotFound
from plimsoll.hypervisors.contract import Provider, VmInfo
from plimsoll.hypervisors.registry import provider_for
from plimsoll.kube import Kube
from plimsoll.resources import SECRETS

STALE_INTERVALS = 3.0
"""A sighting is worth nothing after so many inventory intervals."""


class NotConfigured(Exception):
    """A hypervisor cannot be spoken to as its object stands; ``reason`` is for conditions."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Connection(NamedTuple):
    uid: str
    generation: int
    secret_version: str
    provider: Provider


class _Sightings(NamedTuple):
    at: float
    vms: dict[str, VmInfo]


class _Secret(NamedTuple):
    version: str = ""
    data: Mapping[str, bytes] = {}


Factory = Callable[[Hypervisor, Kube, str, str, Mapping[str, bytes], Callable[[], None]], Provider]
"""As ``registry.provider_for``."""


class Providers:
    """One provider for each Hypervisor, made anew when its spec changes."""

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        namespace: str,
        factory: Factory = provider_for,
        clock: Callable[[], float] = time.time,
        changed: Callable[[str], None] = lambda name: None,
    ) -> None:
        """``changed`` is called with the name of a hypervisor that tells of news by itself."""
        self.cluster = cluster
        """Our mark on VMs: UID of the namespace kube-system."""
        self._kube = kube
        self._namespace = namespace
        self._factory = factory
        self._clock = clock
        self._changed = changed
        self._connections: dict[str, _Connection] = {}
        self._sightings: dict[str, _Sightings] = {}

    async def of(self, hypervisor: Hypervisor) -> Provider:
        """The provider of this hypervisor.

        Raises:
            NotConfigured: its Secret is missing.
        """
        meta = hypervisor.metadata
        known = self._connections.get(meta.name)
        if known and (known.uid, known.generation) == (meta.uid, meta.generation):
            return known.provider
        await self.forget(meta.name)
        secret = await self._secret(hypervisor)
        provider = self._factory(
            hypervisor,
            self._kube,
            self.cluster,
            self._namespace,
            secret.data,
            lambda: self._changed(meta.name),
        )
        self._connections[meta.name] = _Connection(
            meta.uid, meta.generation, secret.version, provider
        )
        return provider

    async def check(self, hypervisor: Hypervisor) -> None:
        """Looks at the Secret; after a change of it the next ``of`` connects anew.

        Raises:
            NotConfigured: it is not there.
        """
        secret = await self._secret(hypervisor)
        known = self._connections.get(hypervisor.metadata.name)
        if known is not None and known.secret_version != secret.version:
            await self.forget(hypervisor.metadata.name)

    async def _secret(self, hypervisor: Hypervisor) -> _Secret:
        """The Secret, from the operator's own namespace only.

        Raises:
            NotConfigured: it is not there.
        """
        reference = hypervisor.spec.credentials_secret_ref
        if reference is None:
            return _Secret()
        try:
            found = await self._kube.get(SECRETS, reference.name, self._namespace)
        except NotFound:
            await self.forget(hypervisor.metadata.name)
            raise NotConfigured(
                "SecretNotFound",
                f"there is no Secret {reference.name!r} in namespace {self._namespace}, "
                "from which alone credentials are read: create it",
            ) from None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        return _Secret(found["metadata"].get("resourceVersion", ""), data)

    async def forget(self, name: str) -> None:
        """Closes the connection to the hypervisor of this name, if there is one."""
        known = self._connections.pop(name, None)
        self._sightings.pop(name, None)
        if known is not None:
            await known.provider.close()

    async def close(self) -> None:
        """Closes all connections."""
        for name in list(self._connections):
            await self.forget(name)

    def saw(self, name: str, vms: tuple[VmInfo, ...]) -> dict[str, VmInfo]:
        """Notes a listing; returns the one before, by identity."""
        before = self._sightings.get(name)
        self._sightings[name] = _Sightings(self._clock(), {vm.uuid: vm for vm in vms})
        return before.vms if before else {}

    def sighting(self, hypervisor: Hypervisor, uuid: str) -> VmInfo | None:
        """The VM as the last listing showed it; None: not in it, or it is too old."""
        seen = self._sightings.get(hypervisor.metadata.name)
        limit = hypervisor.spec.inventory_interval * STALE_INTERVALS
        if seen is None or self._clock() - seen.at > limit:
            return None
        return seen.vms.get(uuid)
