"""The simulated data centre at work: it lets time act on every VM, and shows it on the nodes.

One simulator serves one cluster, on behalf of all its simulated Hypervisors. It
sleeps until something changes or falls due. Nothing is kept in memory that the
cluster does not hold, so it may be ended and started at any time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from plimsoll.api import Hypervisor
from plimsoll.api.hypervisor import HypervisorSpec
from plimsoll.kube import ApiError, Conflict, Kube, NotFound
from plimsoll.resources import CONFIGMAPS, HYPERVISORS
from plimsoll.simulator import nodes, physics
from plimsoll.simulator.kubelets import Kubelets
from plimsoll.simulator.ledger import Busy, Ledger, View
from plimsoll.simulator.nodes import Step
from plimsoll.simulator.placement import NoRoom, restart_host, simulated
from plimsoll.simulator.records import (
    HYPERVISOR_LABEL,
    Damaged,
    StoredVm,
    VmRecord,
    decode_record,
    provider_prefix,
    to_data,
)
from plimsoll.world import wire
from plimsoll.world.reflector import Reflector

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 1.0
"""After a failed write. What failed is tried again as a whole."""
STOP_SECONDS: Final = 5.0
"""What a write that is under way may take after the stop was asked for."""
_PARALLEL: Final = 8
"""Requests to the API server at once."""


class _Work(NamedTuple):
    """One VM and the hypervisor that it lives at."""

    stored: StoredVm
    spec: HypervisorSpec


class DataCentre:
    """All simulated hypervisors of a cluster, whose VMs lie in ``namespace``."""

    def __init__(self, kube: Kube, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._kube = kube
        self._namespace = namespace
        self._clock = clock
        self._wake = asyncio.Event()
        self._kubelets = Kubelets(kube)
        self._ledgers: dict[str, Ledger] = {}
        self._hypervisors = Reflector(
            kube, HYPERVISORS, lambda raw: Hypervisor.model_validate_json(bytes(raw))
        )
        self._records = Reflector(
            kube,
            CONFIGMAPS,
            decode_record,
            namespace=namespace,
            label_selector=HYPERVISOR_LABEL,
        )
        self._reflectors = (self._hypervisors, self._records, self._kubelets.reflector)
        for reflector in self._reflectors:
            reflector.on_change(lambda *_: self._wake.set())

    async def run(self, stop: asyncio.Event) -> None:
        """Runs the data centre until ``stop`` is set; what has been begun is ended first."""
        async with asyncio.TaskGroup() as tasks:
            reflecting = [tasks.create_task(r.run()) for r in self._reflectors]
            living = tasks.create_task(self._live(stop))
            await stop.wait()
            self._wake.set()
            synced = all(reflector.synced for reflector in self._reflectors)
            await asyncio.wait([living], timeout=STOP_SECONDS if synced else 0.0)
            for task in (living, *reflecting):
                task.cancel()

    async def _live(self, stop: asyncio.Event) -> None:
        for reflector in self._reflectors:
            await reflector.wait_synced()
        while not stop.is_set():
            self._wake.clear()
            wait = await self._pass()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _pass(self) -> float | None:
        """Does what is due; returns the seconds until something else is, None if nothing."""
        now = self._clock()
        known = list(self._known())
        limit = asyncio.Semaphore(_PARALLEL)

        async def bounded(work: _Work) -> bool:
            async with limit:
                return await self._serve(work)

        async def silenced(node: wire.Node) -> bool:
            async with limit:
                return await self._silence(node)

        results = await asyncio.gather(
            *(bounded(work) for work in known if self._concerned(work, now)),
            *(silenced(node) for node in self._abandoned(known)),
        )
        due = physics.next_due((work.stored.vm for work in self._known()), now)
        wait = None if due is None else max(0.0, due - self._clock())
        if not all(results):
            return RETRY_SECONDS if wait is None else min(wait, RETRY_SECONDS)
        return wait

    def _known(self) -> Iterator[_Work]:
        """Every VM whose hypervisor exists. Without it, time stands still for a VM."""
        specs = {
            hypervisor.metadata.name: hypervisor.spec
            for hypervisor in self._hypervisors.store.values()
            if hypervisor.spec.provider == "simulated"
        }
        for stored in self._records.store.values():
            if spec := specs.get(stored.vm.hypervisor):
                yield _Work(stored, spec)

    def _concerned(self, work: _Work, now: float) -> bool:
        """Whether anything has to be done for this VM now."""
        vm = work.stored.vm
        step = self._kubelets.step_due(vm, physics.alive(vm, work.spec))
        return (
            step not in (Step.NONE, Step.CLASH)
            or physics.restart_due(vm, work.spec, now)
            or physics.advance(vm, work.spec, now) != vm
        )

    def _abandoned(self, known: list[_Work]) -> Iterator[wire.Node]:
        """Nodes that still pass for alive though their VM is no more."""
        uuids = {work.stored.vm.uuid for work in known}
        prefixes = tuple(
            provider_prefix(hypervisor.metadata.name)
            for hypervisor in self._hypervisors.store.values()
        )
        for node in self._kubelets.reflector.store.values():
            if (
                node.spec.provider_id.startswith(prefixes)
                and node.status.node_info.system_uuid.lower() not in uuids
                and nodes.is_heard(node)
            ):
                yield node

    async def _serve(self, work: _Work) -> bool:
        """Lets time act on one VM and its node; False: it failed and has to be repeated."""
        vm = work.stored.vm
        try:
            await self._advance(work)
        except (ApiError, Busy, Damaged, TimeoutError) as error:
            log.warning("VM %s: %s", vm.name, error)
            return False
        return True

    async def _silence(self, node: wire.Node) -> bool:
        try:
            await self._kubelets.silence(node, self._clock())
        except (NotFound, Conflict):
            return True
        except (ApiError, TimeoutError) as error:
            log.warning("node %s: %s", node.metadata.name, error)
            return False
        return True

    async def _advance(self, work: _Work) -> None:
        """Shows on the node what the record says; then lets time act on the record.

        Nothing is lost by breaking off in between: the step stays due.
        """
        stored, spec = work
        vm, now = stored.vm, self._clock()
        step = self._kubelets.step_due(vm, physics.alive(vm, spec))
        zone = next((h.zone for h in simulated(spec).hosts if h.name == vm.host), "")
        if await self._kubelets.take(step, vm, zone, now):
            vm = msgspec.structs.replace(vm, registered=True)
        destination = ""
        if physics.restart_due(vm, spec, now):
            destination = await self._destination(vm, spec, now)
        after = physics.advance(vm, spec, now, destination)
        if after and self._kubelets.step_due(after, physics.alive(after, spec)) is Step.CLASH:
            log.warning("VM %s cannot join: another machine's node has its name", after.name)
        await self._store(stored, after)

    async def _destination(self, vm: VmRecord, spec: HypervisorSpec, now: float) -> str:
        """The host on which a VM starts again, with its room promised; empty for none."""
        ledger = self._ledgers.setdefault(
            vm.hypervisor, Ledger(self._kube, self._namespace, vm.hypervisor)
        )

        def pick(view: View) -> str:
            return restart_host(vm, spec, view.hosts)

        try:
            return await ledger.claim(
                spec, vm.owner_uid, vm.name, vm.wanted_cpu, vm.wanted_memory, now, pick
            )
        except NoRoom as error:
            log.info("VM %s stays off: %s", vm.name, error)
            return ""

    async def _store(self, stored: StoredVm, after: VmRecord | None) -> None:
        """Keeps the new state, unless the record has changed since: then all is looked at anew."""
        if after == stored.vm:
            return
        name, version = stored.metadata.name, stored.metadata.resource_version
        try:
            if after is None:
                await self._kube.delete(CONFIGMAPS, name, self._namespace, resource_version=version)
                return
            patch = {"metadata": {"resourceVersion": version}, "data": to_data(after)}
            written = await self._kube.merge_patch(CONFIGMAPS, name, patch, self._namespace)
        except (Conflict, NotFound):
            return
        seen = written["metadata"]["resourceVersion"]
        await self._records.wait_for(self._namespace, name, seen)


async def run(kube: Kube, namespace: str, stop: asyncio.Event) -> None:
    """Runs the data centre until ``stop`` is set. ``namespace`` holds its VMs."""
    await DataCentre(kube, namespace).run(stop)
