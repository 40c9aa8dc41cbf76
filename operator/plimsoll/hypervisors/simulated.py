"""Provider ``simulated``: the embedded default, a data centre made of ConfigMaps.

This is only the hypervisor's API. What happens by itself (VMs boot, hosts fail)
is the business of ``plimsoll.simulator``. The hosts, their states and the faults
on order are read from the Hypervisor object on every call, as a real hypervisor
would know them without being told.
"""

from __future__ import annotations

import asyncio
import functools
import time
import uuid as uuids
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

import msgspec

from plimsoll.api.hypervisor import Capabilities, Hypervisor, HypervisorSpec
from plimsoll.hypervisors import contract
from plimsoll.hypervisors.contract import HostInfo, Intent, PowerState, VmInfo
from plimsoll.hypervisors.simulated_faults import linger, refuse, refuse_at_once
from plimsoll.kube import (
    AlreadyExists,
    ApiError,
    Conflict,
    Invalid,
    Kube,
    NotFound,
    TooManyRequests,
)
from plimsoll.resources import CONFIGMAPS, HYPERVISORS
from plimsoll.simulator.ledger import Busy, Ledger, View
from plimsoll.simulator.placement import NoRoom, choose, host_states, rooms, simulated
from plimsoll.simulator.records import (
    Damaged,
    RawRecord,
    StoredVm,
    VmRecord,
    from_configmap,
    record_name,
    to_configmap,
    to_data,
)

CALL_TIMEOUT: Final = 30.0
"""Seconds after which any call gives up."""
_WRITE_ATTEMPTS: Final = 5

P = ParamSpec("P")
R = TypeVar("R")
_Method = Callable[Concatenate["Simulated", P], Coroutine[Any, Any, R]]


def _call(method: _Method[P, R]) -> _Method[P, R]:
    """A call of the contract: bounded in time, with the contract's errors only."""

    @functools.wraps(method)
    async def bounded(self: Simulated, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            async with asyncio.timeout(self.call_timeout):
                return await method(self, *args, **kwargs)
        except TimeoutError as error:
            raise contract.Retryable(
                f"{self.name}: no answer within {self.call_timeout:g} s"
            ) from error
        except NoRoom as error:
            raise contract.NoCapacity(f"{self.name}: {error}") from error
        except TooManyRequests as error:
            raise contract.RateLimited(f"{self.name}: {error}") from error
        except Invalid as error:
            raise contract.Invalid(f"{self.name}: {error}") from error
        except (ApiError, Busy, Damaged) as error:
            raise contract.Retryable(f"{self.name}: {error}") from error

    return cast(_Method[P, R], bounded)


class Simulated:
    """The simulated hypervisor of one Hypervisor object, spoken to on behalf of one cluster.

    The namespace is the one that holds the VMs' ConfigMaps: the operator's own.
    """

    def __init__(
        self,
        kube: Kube,
        hypervisor: Hypervisor,
        cluster_id: str,
        namespace: str,
        call_timeout: float = CALL_TIMEOUT,
    ) -> None:
        self.name = hypervisor.metadata.name
        self.call_timeout = call_timeout
        self._kube = kube
        self._cluster = cluster_id
        self._namespace = namespace
        self._ledger = Ledger(kube, namespace, self.name)
        self._capabilities = _capabilities(hypervisor.spec)

    def capabilities(self) -> Capabilities:
        """As the Hypervisor object said when this provider was made."""
        return self._capabilities

    @_call
    async def hosts(self) -> tuple[HostInfo, ...]:
        """All hosts with what VMs take of them."""
        spec = await self._spec()
        names = host_states(spec)
        await refuse(spec, "hosts", *names)
        vms = [stored.vm for stored in await self._ledger.vms()]
        taken = {room.name: room for room in rooms(spec, vms)}
        await linger(spec, "hosts", *names)
        return tuple(
            HostInfo(
                name=host.name,
                zone=host.zone,
                cpu=host.cpu * 1000,
                memory=host.memory,
                cpu_used=taken[host.name].cpu_used,
                memory_used=taken[host.name].memory_used,
                state=host.state,
            )
            for host in simulated(spec).hosts
        )

    @_call
    async def ensure(self, intent: Intent) -> VmInfo:
        """The VM of this intent, created on the given or else the emptiest host."""
        spec = await self._spec()
        await refuse(spec, "ensure", intent.host)
        vm = await self._made(intent) or await self._make(spec, intent)
        await linger(spec, "ensure", vm.host)
        return _describe(vm, spec)

    @_call
    async def describe(self, uuid: str, host: str = "") -> VmInfo | None:
        """The VM with this identity, or None when it is proven gone."""
        spec = await self._spec()
        stored = await self._find(uuid)
        where = stored.vm.host if stored else ""
        await refuse(spec, "describe", where)
        await linger(spec, "describe", where)
        return _describe(stored.vm, spec) if stored else None

    @_call
    async def list_owned(self) -> tuple[VmInfo, ...]:
        """Every VM that carries this cluster's mark."""
        spec = await self._spec()
        names = host_states(spec)
        await refuse(spec, "listOwned", *names)
        vms = [stored.vm for stored in await self._ledger.vms()]
        await linger(spec, "listOwned", *names)
        return tuple(_describe(vm, spec) for vm in vms if vm.cluster == self._cluster)

    async def listing(self) -> contract.Listing:
        """All or nothing: there is one record of all hosts."""
        return contract.Listing(vms=await self.list_owned())

    async def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        """Every VM of this owner."""
        return tuple(vm for vm in await self.list_owned() if vm.owner_uid == owner_uid)

    @_call
    async def resize(self, uuid: str, cpu: int, memory: int) -> VmInfo:
        """Starts hot-add of virtual CPUs and bytes; only a running VM can take it."""
        spec = await self._spec()
        for _ in range(_WRITE_ATTEMPTS):
            stored = await self._find(uuid)
            if stored is None:
                raise contract.Invalid(f"{self.name}: there is no VM {uuid}")
            vm = self._checked(stored.vm, spec)
            await refuse(spec, "resize", vm.host)
            if (vm.wanted_cpu, vm.wanted_memory) != (cpu, memory):
                wish = await self._resized(spec, vm, cpu, memory)
                if not await self._write(stored, wish):
                    continue
                vm = wish
            await linger(spec, "resize", vm.host)
            return _describe(vm, spec)
        raise contract.Retryable(f"{self.name}: the VM {uuid} kept changing")

    @_call
    async def delete(self, uuid: str, owner_uid: str) -> None:
        """Starts the deletion of the VM; one on a host that cannot be asked stays."""
        spec = await self._spec()
        for _ in range(_WRITE_ATTEMPTS):
            stored = await self._find(uuid)
            if stored is None:
                await refuse(spec, "delete", "")
                return
            vm = self._checked(stored.vm, spec, owner_uid)
            await refuse(spec, "delete", vm.host)
            # Once the record is gone, a promise that it no longer shows would block its room.
            await self._ledger.release(vm.owner_uid)
            due = time.time() + simulated(spec).delete_time
            gone = msgspec.structs.replace(vm, power=PowerState.DELETING, due=due)
            if vm.power is PowerState.DELETING or await self._write(stored, gone):
                await linger(spec, "delete", vm.host)
                return
        raise contract.Retryable(f"{self.name}: the VM {uuid} kept changing")

    async def start(self, uuid: str, owner_uid: str) -> None:
        """High availability starts VMs here, as the simulator plays it."""
        raise contract.NotSupported(f"{self.name} starts VMs by itself")

    async def seal(self, uuid: str, owner_uid: str) -> None:
        """Nothing to wipe: simulated VMs need no user data."""

    async def console(self, uuid: str) -> str:
        """Simulated VMs say nothing."""
        return ""

    async def sweep(self, grace: float) -> tuple[str, ...]:
        """A record is all there is of a simulated VM."""
        return ()

    async def close(self) -> None:
        """Nothing of its own to release: the client belongs to the caller."""

    async def _spec(self) -> HypervisorSpec:
        """The hypervisor as it is now. Without its object nothing is known of its VMs."""
        found = await self._kube.get(HYPERVISORS, self.name)
        try:
            return Hypervisor.model_validate(found).spec
        except ValueError as error:
            raise contract.Retryable(f"{self.name}: its object cannot be read: {error}") from error

    async def _find(self, uuid: str) -> StoredVm | None:
        """The VM with this identity; None only if it would be seen, were there one.

        An empty list proves nothing in a namespace in which this hypervisor never
        had a VM: more likely that is the wrong namespace.
        """
        found = await self._ledger.vms(uuid)
        if not found and not await self._ledger.exists():
            raise contract.Retryable(
                f"{self.name}: namespace {self._namespace} holds no VMs of this hypervisor and "
                "never did: is it the operator's own?"
            )
        return found[0] if found else None

    async def _made(self, intent: Intent) -> VmRecord | None:
        """The VM that an earlier call made for this intent.

        Raises:
            contract.Conflict: what lies in its place is not this cluster's.
        """
        name = record_name(intent.uid)
        try:
            found = await self._kube.get(CONFIGMAPS, name, self._namespace, type=RawRecord)
        except NotFound:
            return None
        try:
            vm = from_configmap(found).vm
        except Damaged as error:
            raise contract.Conflict(f"{self.name}: {error}") from error
        if (vm.cluster, vm.hypervisor) != (self._cluster, self.name):
            raise contract.Conflict(
                f"{self.name}: ConfigMap {name} holds a VM of cluster {vm.cluster!r} at "
                f"{vm.hypervisor!r}"
            )
        return vm

    async def _make(self, spec: HypervisorSpec, intent: Intent) -> VmRecord:
        def pick(view: View) -> str:
            names = {vm.name: vm.owner_uid for vm in view.vms}
            names |= {claim.name: owner for owner, claim in view.claims.items()}
            if intent.name in names:
                raise contract.Conflict(
                    f"{self.name}: a VM named {intent.name} exists for owner {names[intent.name]}"
                )
            host = choose(view.hosts, intent.cpu, intent.memory, intent.host)
            refuse_at_once(spec, "ensure", host)
            return host

        now = time.time()
        host = await self._ledger.claim(
            spec, intent.uid, intent.name, intent.cpu, intent.memory, now, pick
        )
        vm = VmRecord(
            uuid=str(uuids.uuid4()),
            name=intent.name,
            owner_uid=intent.uid,
            cluster=self._cluster,
            hypervisor=self.name,
            pool=intent.pool,
            host=host,
            power=PowerState.CREATING,
            cpu=intent.cpu,
            memory=intent.memory,
            wanted_cpu=intent.cpu,
            wanted_memory=intent.memory,
            created=now,
            due=now + simulated(spec).boot_time,
            reserved_cpu=max(0, intent.cpu * 1000 - intent.allocatable_cpu),
            reserved_memory=max(0, intent.memory - intent.allocatable_memory),
            max_pods=intent.max_pods,
            labels=intent.labels,
            annotations=intent.annotations,
            taints=intent.taints,
        )
        try:
            await self._kube.create(to_configmap(vm, self._namespace))
        except AlreadyExists:  # made by another leader in the meantime
            made = await self._made(intent)
            if made is None:
                raise contract.Retryable(f"{self.name}: {intent.name} came and went") from None
            return made
        return vm

    def _checked(self, vm: VmRecord, spec: HypervisorSpec, owner_uid: str = "") -> VmRecord:
        """The VM, if it is ours to change and its host can be told."""
        if vm.cluster != self._cluster:
            raise contract.Conflict(
                f"{self.name}: VM {vm.name} ({vm.uuid}) is marked by cluster {vm.cluster!r}"
            )
        if owner_uid and vm.owner_uid != owner_uid:
            raise contract.Conflict(
                f"{self.name}: VM {vm.name} ({vm.uuid}) belongs to {vm.owner_uid}, not {owner_uid}"
            )
        state = host_states(spec).get(vm.host, "Down")
        if state in ("Isolated", "Unknown"):
            raise contract.Retryable(f"{self.name}: {vm.host}, where {vm.name} is, is {state}")
        return vm

    async def _resized(self, spec: HypervisorSpec, vm: VmRecord, cpu: int, memory: int) -> VmRecord:
        """The VM on its way to that size, once its host has promised the room."""
        able = _capabilities(spec)
        if (cpu > vm.cpu or memory > vm.memory) and not able.hot_add_cpu:
            raise contract.NotSupported(f"{self.name} cannot add CPU or memory to a running VM")
        if (cpu < vm.cpu or memory < vm.memory) and not able.hot_remove:
            raise contract.NotSupported(f"{self.name} cannot take CPU or memory from a running VM")
        if vm.power is not PowerState.RUNNING:
            raise contract.Retryable(f"{self.name}: {vm.name} is {vm.power}, not running")

        def pick(view: View) -> str:
            return choose(view.hosts, max(cpu, vm.cpu), max(memory, vm.memory), vm.host)

        now = time.time()
        if cpu > vm.claimed_cpu or memory > vm.claimed_memory:
            size = max(cpu, vm.cpu), max(memory, vm.memory)
            await self._ledger.claim(spec, vm.owner_uid, vm.name, *size, now, pick)
        due = now + simulated(spec).hot_add_time
        return msgspec.structs.replace(vm, wanted_cpu=cpu, wanted_memory=memory, due=due)

    async def _write(self, stored: StoredVm, vm: VmRecord) -> bool:
        """Whether the record now says so; False: it changed since it was read."""
        patch: dict[str, Any] = {
            "metadata": {"resourceVersion": stored.metadata.resource_version},
            "data": to_data(vm),
        }
        try:
            name = record_name(vm.owner_uid)
            await self._kube.merge_patch(CONFIGMAPS, name, patch, self._namespace)
        except (Conflict, NotFound):
            return False
        return True


def _capabilities(spec: HypervisorSpec) -> Capabilities:
    settings = simulated(spec)
    return Capabilities(
        hot_add_cpu=settings.hot_add,
        hot_add_memory=settings.hot_add,
        hot_remove=settings.hot_remove,
        high_availability=settings.high_availability,
    )


def _describe(vm: VmRecord, spec: HypervisorSpec) -> VmInfo:
    """The VM as the hypervisor describes it.

    Nobody can ask an isolated or unknown host. And of a VM that was on a host
    that has just gone down it is only known that it did not stay as it was.
    """
    state = host_states(spec).get(vm.host, "Down")
    blind = state in ("Isolated", "Unknown") or (
        state == "Down" and vm.power in (PowerState.CREATING, PowerState.RUNNING)
    )
    return VmInfo(
        uuid=vm.uuid,
        name=vm.name,
        owner_uid=vm.owner_uid,
        cluster=vm.cluster,
        host=vm.host,
        power=PowerState.UNKNOWN if blind else vm.power,
        cpu=vm.cpu,
        memory=vm.memory,
        provider_id=vm.provider_id,
        created=vm.created,
    )
