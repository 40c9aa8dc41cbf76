"""Looks over one hypervisor at regular times: hosts, VMs, and VMs that nobody claims."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from plimsoll.act import conditions
from plimsoll.act.conditions import Fact
from plimsoll.act.providers import NotConfigured, Providers
from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.hypervisor import HostState, HostStatus, HypervisorStatus
from plimsoll.api.quantity import format_milli
from plimsoll.api.timestamp import parse_rfc3339, rfc3339
from plimsoll.apierrors import ApiError
from plimsoll.decide.orphans import Claim, Verdict, orphans
from plimsoll.events import EventReason, Recorder, Subject, of
from plimsoll.hypervisors.contract import (
    HostInfo,
    HypervisorError,
    Provider,
    RateLimited,
    VmInfo,
)
from plimsoll.kube import Kube
from plimsoll.resources import HYPERVISORS, VMNODES
from plimsoll.world.stores import World

log = logging.getLogger(__name__)

ORPHANS: Final = "OrphanFound"
"""Condition: True while VMs with our mark belong to no VMNode."""
HOSTS_UNKNOWN_AFTER: Final = 60.0
"""Seconds of silence after which nothing is believed of the hosts any more."""
STATUS_EVERY: Final = 60.0
"""A status in which only the time is new is written this seldom: each write wakes the planner."""
SWEEP_EVERY: Final = 60.0
"""Seconds between two looks for what VMs have left behind, which costs more than an inventory."""
SLOW_DOWN: Final = 5.0
_NAMED: Final = 5


class Inventory:
    """The inventory of all hypervisors; ``look`` is called for each, one call at a time."""

    def __init__(
        self,
        kube: Kube,
        world: World,
        providers: Providers,
        recorder: Recorder,
        *,
        wake: Callable[[str], None],
        orphan_grace: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``wake`` is called with the name of each VMNode of whose VM something changed."""
        self._kube = kube
        self._world = world
        self._providers = providers
        self._recorder = recorder
        self._wake = wake
        self._grace = orphan_grace
        self._clock = clock
        self._orphans_since: dict[str, dict[str, float]] = {}
        """By hypervisor: identity -> first seen. Lost with the process: a restart waits anew."""
        self._heard: dict[str, float] = {}
        """By hypervisor: when it last answered."""
        self._swept: dict[str, float] = {}
        """By hypervisor: when leftovers were last looked for."""

    async def look(self, name: str) -> float | None:
        """One look at one hypervisor.

        Returns the seconds until the next; None when there is no such Hypervisor.
        Raises nothing but cancellation.
        """
        hypervisor = self._world.hypervisors.store.get("", name)
        if hypervisor is None:
            self._orphans_since.pop(name, None)
            self._heard.pop(name, None)
            self._swept.pop(name, None)
            await self._providers.forget(name)
            return None
        interval = hypervisor.spec.inventory_interval
        try:
            return interval * await self._look(hypervisor)
        except ApiError as error:
            log.warning("inventory failed: %s", error, extra=of(_subject(hypervisor)))
        except Exception:
            log.exception("inventory failed", extra=of(_subject(hypervisor)))
        return interval

    async def _look(self, hypervisor: Hypervisor) -> float:
        """Returns by how much longer than usual to wait."""
        try:
            await self._providers.check(hypervisor)
            provider = await self._providers.of(hypervisor)
            hosts = await provider.hosts()
            seen = await provider.listing()
        except NotConfigured as error:
            await self._write(hypervisor, *self._silent(hypervisor, error.reason, error))
            return 1.0
        except RateLimited as error:
            await self._write(hypervisor, *self._silent(hypervisor, "RateLimited", error))
            return SLOW_DOWN
        except HypervisorError as error:
            await self._write(hypervisor, *self._silent(hypervisor, "Unreachable", error))
            return 1.0
        self._heard[hypervisor.metadata.name] = self._clock()
        vms = seen.vms
        before = self._providers.saw(hypervisor.metadata.name, vms)
        status = self._status(hypervisor, provider, hosts, vms)
        message = f"{len(hosts)} hosts, {len(vms)} VMs of this cluster"
        if seen.silent:
            message += f"; silent, so that nothing is known of it now: {', '.join(seen.silent)}"
        facts = conditions.ready("Reachable", message)
        facts += await self._judge(hypervisor, provider, vms)
        await self._write(hypervisor, status, facts)
        self._wake_changed(hypervisor, status, before, vms)
        await self._sweep(hypervisor, provider)
        return 1.0

    # Status

    def _status(
        self,
        hypervisor: Hypervisor,
        provider: Provider,
        hosts: tuple[HostInfo, ...],
        vms: tuple[VmInfo, ...],
    ) -> HypervisorStatus:
        old = {host.name: host for host in (hypervisor.status or HypervisorStatus()).hosts}
        count = Counter(vm.host for vm in vms)
        percent = hypervisor.spec.cpu_overcommit_percent
        now = rfc3339(self._clock())
        return HypervisorStatus(
            hosts=tuple(
                HostStatus(
                    name=host.name,
                    zone=host.zone,
                    state=host.state,
                    state_since=_since(old.get(host.name), host.state, now),
                    cpu=format_milli(host.cpu * percent // 100),
                    memory=host.memory,
                    cpu_used=format_milli(host.cpu_used),
                    memory_used=host.memory_used,
                    vms=count[host.name],
                    free_nodes=host.free_nodes,
                )
                for host in sorted(hosts, key=lambda h: h.name)
            ),
            capabilities=provider.capabilities(),
            last_inventory=now,
        )

    def _silent(
        self, hypervisor: Hypervisor, reason: str, error: Exception
    ) -> tuple[HypervisorStatus, list[Fact]]:
        """Nothing new is known: what was known stays, until it is too old to be believed."""
        old = hypervisor.status or HypervisorStatus()
        now = self._clock()
        written = parse_rfc3339(old.last_inventory) if old.last_inventory else 0.0
        heard = max(written, self._heard.get(hypervisor.metadata.name, 0.0))
        limit = max(HOSTS_UNKNOWN_AFTER, 3 * hypervisor.spec.inventory_interval)
        believed = now - heard < limit
        hosts = old.hosts if believed else tuple(_unknown(host, rfc3339(now)) for host in old.hosts)
        status = old.model_copy(update={"hosts": hosts})
        if reason in ("Unreachable", "RateLimited"):
            return status, conditions.reconciling(reason, str(error))
        return status, conditions.stalled(reason, str(error))

    async def _write(
        self, hypervisor: Hypervisor, status: HypervisorStatus, facts: list[Fact]
    ) -> None:
        old = hypervisor.status or HypervisorStatus()
        meta = hypervisor.metadata
        now = self._clock()
        merged = conditions.merge(old.conditions, facts, meta.generation, now)
        status = status.model_copy(
            update={"conditions": merged, "observed_generation": meta.generation}
        )
        timeless = status.model_copy(update={"last_inventory": old.last_inventory})
        if timeless == old and (
            status.last_inventory == old.last_inventory
            or now - parse_rfc3339(old.last_inventory) < STATUS_EVERY
        ):
            return
        document = status.model_dump(mode="json", by_alias=True)
        patch = {"metadata": {"uid": meta.uid}, "status": document}
        await self._kube.patch_subresource(HYPERVISORS, meta.name, "status", patch, kind="merge")
        self._tell(hypervisor, old, status)

    def _tell(self, hypervisor: Hypervisor, old: HypervisorStatus, new: HypervisorStatus) -> None:
        about = _subject(hypervisor)
        was, now = _ready(old), _ready(new)
        if now is False and was is not False:
            reason = EventReason.HYPERVISOR_UNREACHABLE
            self._recorder.record(about, reason, _message(new), warning=True)
        if now and was is False:
            self._recorder.record(about, EventReason.HYPERVISOR_REACHABLE, _message(new))
        states = {host.name: host.state for host in old.hosts}
        for host in new.hosts:
            before = states.get(host.name, host.state)
            if before != host.state:
                self._recorder.record(
                    about,
                    EventReason.HOST_STATE_CHANGED,
                    f"host {host.name} was {before} and is {host.state}",
                    warning=host.state != "Up",
                )

    # VMs

    def _wake_changed(
        self,
        hypervisor: Hypervisor,
        status: HypervisorStatus,
        before: dict[str, VmInfo],
        vms: tuple[VmInfo, ...],
    ) -> None:
        now = {vm.uuid: vm for vm in vms}
        states = {host.name: host.state for host in (hypervisor.status or status).hosts}
        turned = {host.name for host in status.hosts if states.get(host.name) != host.state}
        silent_before = _ready(hypervisor.status or HypervisorStatus()) is not True
        for record in self._world.vmnodes.store.values():
            if record.spec.hypervisor != hypervisor.metadata.name or record.status is None:
                continue
            uuid = record.status.identity.uuid if record.status.identity else ""
            moved = before.get(uuid) != now.get(uuid)
            if silent_before or moved or record.status.host in turned:
                self._wake(record.metadata.name)

    async def _judge(
        self, hypervisor: Hypervisor, provider: Provider, vms: tuple[VmInfo, ...]
    ) -> list[Fact]:
        """Reports VMs that nobody claims, and removes one if that is certain."""
        name = hypervisor.metadata.name
        known = self._orphans_since.get(name, {})
        claims = [_claim(record) for record in self._world.vmnodes.store.values()]
        verdict = orphans(vms, claims, known, self._clock(), self._grace)
        if verdict.orphans:
            # The store may lag behind the listing; the API server does not.
            live = await self._kube.list_all(VMNODES)
            claims = [_claim(VMNode.model_validate(record)) for record in live]
            verdict = orphans(vms, claims, known, self._clock(), self._grace)
        self._orphans_since[name] = verdict.first_seen
        if not verdict.orphans:
            return []
        message = _orphan_message(verdict)
        about = _subject(hypervisor)
        self._recorder.record(about, EventReason.ORPHAN_FOUND, message, warning=True)
        for vm in verdict.remove:
            await self._remove(about, provider, vm)
        return [Fact(ORPHANS, "True", "Halted" if verdict.halted else "Unclaimed", message)]

    async def _sweep(self, hypervisor: Hypervisor, provider: Provider) -> None:
        """Has the disks and seeds removed that a crash of ours left without a VM."""
        name, now = hypervisor.metadata.name, self._clock()
        if now - self._swept.get(name, -SWEEP_EVERY) < SWEEP_EVERY:
            return
        self._swept[name] = now
        about = _subject(hypervisor)
        try:
            removed = await provider.sweep(self._grace)
        except HypervisorError as error:
            log.warning("leftovers were not looked for: %s", error, extra=of(about))
            return
        for what in removed:
            log.info("removed leftover: %s", what, extra=of(about))
            self._recorder.record(about, EventReason.LEFTOVER_REMOVED, f"{what}, of no VM")

    async def _remove(self, about: Subject, provider: Provider, vm: VmInfo) -> None:
        try:
            live = await provider.describe(vm.uuid)
            same = live is not None and (live.owner_uid, live.cluster) == (
                vm.owner_uid,
                self._providers.cluster,
            )
            if same:
                await provider.delete(vm.uuid, vm.owner_uid)
        except HypervisorError as error:
            log.warning("orphan %s was not removed: %s", vm.uuid, error, extra=of(about))
            return
        text = f"VM {vm.name} ({vm.uuid}) of VMNode UID {vm.owner_uid}, which does not exist"
        log.info("removed orphan: %s", text, extra=of(about))
        self._recorder.record(about, EventReason.ORPHAN_REMOVED, text, warning=True)


def _subject(hypervisor: Hypervisor) -> Subject:
    return Subject("Hypervisor", hypervisor.metadata.name, uid=hypervisor.metadata.uid)


def _claim(record: VMNode) -> Claim:
    identity = record.status.identity if record.status else None
    return Claim(
        uid=record.metadata.uid,
        name=record.metadata.name,
        identity=identity.uuid if identity else "",
    )


def _since(old: HostStatus | None, state: HostState, now: str) -> str:
    return old.state_since if old is not None and old.state == state else now


def _unknown(host: HostStatus, now: str) -> HostStatus:
    if host.state == "Unknown":
        return host
    return host.model_copy(update={"state": "Unknown", "state_since": now})


def _ready(status: HypervisorStatus) -> bool | None:
    """None: nothing was said yet."""
    return next((c.status == "True" for c in status.conditions if c.type == "Ready"), None)


def _message(status: HypervisorStatus) -> str:
    return next((c.message for c in status.conditions if c.type == "Ready"), "")


def _orphan_message(verdict: Verdict) -> str:
    if verdict.halted:
        return verdict.halted
    named = ", ".join(f"{vm.name} ({vm.uuid})" for vm in verdict.orphans[:_NAMED])
    more = len(verdict.orphans) - _NAMED
    return f"VMs with our mark and no VMNode: {named}{f' and {more} more' if more > 0 else ''}"
