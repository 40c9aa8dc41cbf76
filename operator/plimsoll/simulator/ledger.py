"""The ledger of promised room: what keeps two writers from giving the same room away twice.

VMs lie in one ConfigMap each, so no precondition on one of them can guard the
sum that a host must carry. Whoever wants room (a create, a resize, a restart by
high availability) therefore first writes a claim into the one ledger of the
hypervisor, with the ledger's resourceVersion, read before the VMs were listed,
as the precondition. A claim ends when the record shows it, or lapses when its
holder must have died.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from plimsoll.api import labels
from plimsoll.api.hypervisor import HypervisorSpec
from plimsoll.kube import AlreadyExists, Conflict, Kube, NotFound
from plimsoll.resources import CONFIGMAPS
from plimsoll.simulator.placement import Claim, HostRoom, open_claims, rooms
from plimsoll.simulator.records import (
    HYPERVISOR_LABEL,
    LEDGER_LABEL,
    MANAGED_BY,
    UUID_LABEL,
    RawRecord,
    StoredVm,
    VmRecord,
    from_configmap,
    label_value,
)

CLAIM_SECONDS: Final = 120.0
"""Well above the time that any call between a claim and its record may take."""
_ATTEMPTS: Final = 5
_DATA_KEY: Final = "claims"


class Busy(Exception):
    """Others kept changing the ledger: try again later."""


class View(NamedTuple):
    """What a claim is decided on. The claimant itself is in none of it."""

    hosts: tuple[HostRoom, ...]
    vms: tuple[VmRecord, ...]
    claims: dict[str, Claim]
    """By owner UID."""


class Ledger:
    """The VMs of one simulated hypervisor, and the room promised to them."""

    def __init__(self, kube: Kube, namespace: str, hypervisor: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._hypervisor = label_value(hypervisor)
        self._name = f"ledger-{self._hypervisor}"
        self._lock = asyncio.Lock()  # spares writers of one process a conflict with each other

    async def vms(self, uuid: str = "") -> list[StoredVm]:
        """All VMs of the hypervisor, of every cluster, or the one with this uuid; a live list.

        Raises:
            Damaged: a record cannot be read, so that the list would not be complete.
        """
        selector = f"{HYPERVISOR_LABEL}={self._hypervisor}"
        if uuid:
            selector += f",{UUID_LABEL}={uuid}"
        found = await self._kube.list_all(
            CONFIGMAPS, self._namespace, label_selector=selector, type=RawRecord
        )
        return [from_configmap(configmap) for configmap in found]

    async def exists(self) -> bool:
        """Whether this hypervisor ever had a VM in this namespace."""
        try:
            await self._kube.get(CONFIGMAPS, self._name, self._namespace)
        except NotFound:
            return False
        return True

    async def claim(
        self,
        spec: HypervisorSpec,
        owner_uid: str,
        name: str,
        cpu: int,
        memory: int,
        now: float,
        pick: Callable[[View], str],
    ) -> str:
        """Promises room for virtual CPUs and bytes in all to a VM; returns the host.

        ``pick`` chooses the host; what it raises is passed on. It is called
        again whenever somebody else was faster.

        Raises:
            Busy: somebody else was faster every time.
            Damaged: a record cannot be read, so that room cannot be reckoned.
        """
        async with self._lock:
            for _ in range(_ATTEMPTS):
                version, claims = await self._read()
                vms = [stored.vm for stored in await self.vms()]
                claims = open_claims(claims, vms, now)
                mine = claims.pop(owner_uid, None)
                others = tuple(vm for vm in vms if vm.owner_uid != owner_uid)
                host = pick(View(rooms(spec, others, claims), others, claims))
                if mine is not None and mine.covers(name, host, cpu, memory, now):
                    # Promised before a crash. To renew it on every try would never end
                    # where every try dies of its first write.
                    return host
                claims[owner_uid] = Claim(
                    name=name, host=host, cpu=cpu, memory=memory, until=now + CLAIM_SECONDS
                )
                if await self._write(version, claims):
                    return host
        raise Busy(f"the ledger {self._name} changed {_ATTEMPTS} times while it was read")

    async def release(self, owner_uid: str) -> None:
        """Ends the promise to a VM that is about to go: its record will not show it any more.

        Raises:
            Busy: somebody else was faster every time.
        """
        async with self._lock:
            for _ in range(_ATTEMPTS):
                version, claims = await self._read()
                if claims.pop(owner_uid, None) is None or await self._write(version, claims):
                    return
        raise Busy(f"the ledger {self._name} changed {_ATTEMPTS} times while it was read")

    async def _read(self) -> tuple[str, dict[str, Claim]]:
        """The ledger's resourceVersion (empty: there is none yet) and claims."""
        try:
            found = await self._kube.get(CONFIGMAPS, self._name, self._namespace, type=RawRecord)
        except NotFound:
            return "", {}
        try:
            claims = msgspec.json.decode(found.data.get(_DATA_KEY, "{}"), type=dict[str, Claim])
        except msgspec.MsgspecError:
            claims = {}  # promises last two minutes at most; the records carry all that lasts
        return found.metadata.resource_version, claims

    async def _write(self, version: str, claims: dict[str, Claim]) -> bool:
        """Whether the ledger now says so; False: it changed in the meantime."""
        data = {_DATA_KEY: msgspec.json.encode(claims, order="sorted").decode()}
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        try:
            if not version:
                metadata["labels"] = {
                    labels.MANAGED_BY: MANAGED_BY,
                    LEDGER_LABEL: self._hypervisor,
                }
                await self._kube.create(
                    {
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": metadata,
                        "data": data,
                    }
                )
            else:
                await self._kube.merge_patch(
                    CONFIGMAPS,
                    self._name,
                    {"metadata": {"resourceVersion": version}, "data": data},
                    self._namespace,
                )
        except (AlreadyExists, Conflict, NotFound):
            return False
        return True
