"""The provider: which host is asked what, and what follows when one is silent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from plimsoll.api.hypervisor import Capabilities, Hypervisor
from plimsoll.hypervisors.contract import (
    HostInfo,
    HypervisorError,
    Intent,
    Invalid,
    Listing,
    NoCapacity,
    PowerState,
    Retryable,
    VmInfo,
)
from plimsoll.hypervisors.libvirt import (
    capacity,
    making,
    reading,
    removing,
    resizing,
    sealing,
    sweeping,
    watching,
)
from plimsoll.hypervisors.libvirt.connection import Host, Session, gather
from plimsoll.hypervisors.libvirt.credentials import Credentials
from plimsoll.hypervisors.libvirt.mark import VolumeNames
from plimsoll.hypervisors.libvirt.sightings import Sightings
from plimsoll.hypervisors.libvirt.survey import Survey, survey
from plimsoll.hypervisors.libvirt.volumes import remove_volumes
from plimsoll.hypervisors.libvirt.worker import Silent

log = logging.getLogger(__name__)

_CAPABILITIES: Final = Capabilities(
    hot_add_cpu=True, hot_add_memory=True, start=True, bootstrap=True
)


class LibvirtProvider:
    """All hosts of one Hypervisor object, spoken to on behalf of one cluster."""

    def __init__(
        self,
        hypervisor: Hypervisor,
        cluster_id: str,
        secret: Mapping[str, bytes],
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``changed`` is called in the event loop when a host tells that something happened.

        Raises:
            Invalid: the Secret lacks what a host's URI needs.
        """
        settings = hypervisor.spec.libvirt
        assert settings is not None, "the schema asks for the section"
        self.name = hypervisor.metadata.name
        self._cluster = cluster_id
        self._overcommit = hypervisor.spec.cpu_overcommit_percent
        self._names = VolumeNames(cluster_id, self.name)
        self._clock = clock
        self._wake = changed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sightings = Sightings()
        self._leftovers: dict[sweeping.Leftover, float] = {}
        self._credentials = Credentials(secret, settings.call_timeout)
        try:
            self._hosts = {
                host.name: Host(
                    host, self._credentials.uri(host.uri), settings.call_timeout, self._changed
                )
                for host in settings.hosts
            }
        except Invalid:
            self._credentials.close()
            raise

    def capabilities(self) -> Capabilities:
        """The same for all hosts: what a host cannot do is an error that says so."""
        return _CAPABILITIES

    async def hosts(self) -> tuple[HostInfo, ...]:
        """All hosts. A silent one is Unknown, never Down: its VMs may run without its daemon."""

        def look(session: Session) -> capacity.Room:
            return capacity.room(session, reading.read_all(session))

        answers = await self._ask_all("taking inventory", look)
        return tuple(self._host_info(name, answer) for name, answer in answers.items())

    async def ensure(self, intent: Intent) -> VmInfo:
        """The VM of this intent, running; made on the intent's host or else the emptiest.

        A host that is silent does not keep a VM from being made on another, if the
        intent names that: no VM of this owner can then be on the silent one.
        """
        template = intent.libvirt
        if template is None:
            raise Invalid(
                f"{self.name}: VMNode {intent.name} has no template.libvirt: add it to the pool "
                f"{intent.pool!r}"
            )
        named = self._host_for(intent) if intent.host else None
        survey = await self._survey()
        found = survey.owned_by(intent.uid, intent.host)
        if found:
            vm = min(found, key=lambda vm: (vm.created, vm.uuid))
            await self.start(vm.uuid, intent.uid)
            return await self.describe(vm.uuid) or vm
        survey.require_free_name(intent.name)
        host = named or await self._emptiest(intent)
        vm = await host.do(
            f"making {intent.name}",
            lambda session: making.make(
                session, intent, template, self._cluster, self._names, self._overcommit
            ),
        )
        self._sightings.note(vm)
        return vm

    async def describe(self, uuid: str, host: str = "") -> VmInfo | None:
        """The VM with this identity; None only if every host answered that it has none.

        Of a VM on a silent host the last that was seen is told, with power Unknown.

        Raises:
            Retryable: not every host answered, or the Hypervisor has no longer the host
                on which the VM was.
        """

        def look(session: Session) -> VmInfo | None:
            session.step("looking for the domain")
            domain = reading.by_uuid(session, uuid)
            seen = reading.read(session, domain) if domain is not None else None
            if domain is None or seen is None:
                return None
            ip = watching.addresses(session, domain) if seen.active else ()
            return seen.info(session.host, ip)

        found = await self._first(uuid, "describing a VM", look)
        if found is not None:
            self._sightings.note(found)
        elif host and host not in self._hosts:
            raise Retryable(f"{self.name}: the VM {uuid} was last seen there: {_removed(host)}")
        return found

    async def list_owned(self) -> tuple[VmInfo, ...]:
        """Every VM that carries this cluster's mark; an error unless every host answered."""
        return (await self._survey()).complete()

    async def listing(self) -> Listing:
        """What can be seen now. A silent host's VMs are those last seen there, power Unknown."""
        return (await self._survey()).listing()

    async def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        """Every VM of this owner. With ``host``, only that one has to answer."""
        if host and host not in self._hosts:
            raise Retryable(f"{self.name}: a VM may have been made there: {_removed(host)}")
        return (await self._survey()).owned_by(owner_uid, host)

    async def resize(self, uuid: str, cpu: int, memory: int) -> VmInfo:
        """Grows the VM; it is done when this returns, as far as the hypervisor is concerned."""

        def work(session: Session) -> VmInfo | None:
            domain = reading.by_uuid(session, uuid)
            if domain is None:
                return None
            return resizing.resize(session, domain, self._cluster, cpu, memory, self._overcommit)

        vm = await self._first(uuid, "resizing a VM", work)
        if vm is None:
            raise Invalid(f"{self.name}: there is no VM {uuid}")
        if vm.power is PowerState.UNKNOWN:
            raise Retryable(f"{self.name}: {vm.host}, where {vm.name} is, is silent")
        self._sightings.note(vm)
        return vm

    async def delete(self, uuid: str, owner_uid: str) -> None:
        """Powers the VM off and removes it with its volumes, wherever it is."""

        def work(session: Session) -> bool | None:
            domain = reading.by_uuid(session, uuid)
            if domain is None:
                return None
            return removing.remove(session, domain, self._cluster, owner_uid, self._names)

        await self._touch(uuid, "deleting a VM", work)

    async def start(self, uuid: str, owner_uid: str) -> None:
        """Powers on a VM of ours that is off; a paused one is left to who paused it."""

        def work(session: Session) -> bool | None:
            domain = reading.by_uuid(session, uuid)
            if domain is None or not reading.ours(session, domain, self._cluster, owner_uid):
                return None
            making.power_on(session, domain)
            return True

        if not await self._touch(uuid, "starting a VM", work):
            raise Invalid(f"{self.name}: there is no VM {uuid}")

    async def seal(self, uuid: str, owner_uid: str) -> None:
        """Takes the seed out of the VM's drive and removes it."""

        def work(session: Session) -> bool | None:
            domain = reading.by_uuid(session, uuid)
            if domain is None:
                return None
            sealing.seal(session, domain, self._cluster, owner_uid, self._names)
            return True

        await self._touch(uuid, "sealing a VM", work)

    async def console(self, uuid: str) -> str:
        """The end of the VM's console log; empty where it cannot be had."""

        def work(session: Session) -> str | None:
            domain = reading.by_uuid(session, uuid)
            seen = reading.read(session, domain) if domain is not None else None
            if seen is None or seen.mark is None or seen.mark.cluster != self._cluster:
                return None
            return watching.console_tail(session, seen.mark, uuid, self._names)

        try:
            return await self._touch(uuid, "reading a console", work) or ""
        except HypervisorError as error:
            log.info("no console of %s: %s", uuid, error)
            return ""

    async def sweep(self, grace: float) -> tuple[str, ...]:
        """Removes volumes of ours that belong to no VM; nothing while any host is silent."""
        answers = await self._ask_all(
            "looking for leftovers", lambda session: sweeping.take_stock(session, self._names)
        )
        stocks = [answer for answer in answers.values() if isinstance(answer, sweeping.Stock)]
        if len(stocks) < len(self._hosts):
            return ()
        found = sweeping.leftovers(stocks)
        remove, self._leftovers = sweeping.due(found, self._leftovers, self._clock(), grace)
        removed = []
        for item in remove:
            await self._remove_leftover(item)
            removed.append(f"volume {item.volume} in storage pool {item.pool} of host {item.host}")
        return tuple(removed)

    async def close(self) -> None:
        """Ends all connections and removes the credentials' files."""
        await asyncio.gather(*(host.close() for host in self._hosts.values()))
        self._credentials.close()

    # Asking

    def _changed(self) -> None:
        """From any thread: news of some host."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    async def _ask_all(
        self, doing: str, work: Callable[[Session], Any]
    ) -> dict[str, Any | HypervisorError]:
        self._loop = asyncio.get_running_loop()
        return await gather(list(self._hosts.values()), doing, work)

    async def _remove_leftover(self, item: sweeping.Leftover) -> None:
        def work(session: Session) -> list[str]:
            return remove_volumes(session, item.pool, (item.volume,))

        await self._hosts[item.host].do("removing a leftover", work)

    async def _survey(self) -> Survey:
        answers = await self._ask_all("listing VMs", reading.read_all)
        return survey(self.name, self._cluster, answers, self._sightings)

    async def _first(
        self, uuid: str, doing: str, work: Callable[[Session], VmInfo | None]
    ) -> VmInfo | None:
        """What the host that has the VM answers; on a silent one the last that was seen of it.

        Raises:
            Retryable: no host has it, but not all could say, and nobody saw it there before.
        """
        answer = await self._where_it_is(uuid, doing, work)
        if not isinstance(answer, Silent):
            return answer  # type: ignore[no-any-return]
        last = self._sightings.last(uuid)
        if last is None:
            raise answer
        return msgspec.structs.replace(last, power=PowerState.UNKNOWN, addresses=())

    async def _touch(self, uuid: str, doing: str, work: Callable[[Session], Any]) -> Any:
        """What the host that has the VM answers; None: proven gone."""
        answer = await self._where_it_is(uuid, doing, work)
        if isinstance(answer, Silent):
            raise answer
        return answer

    async def _where_it_is(
        self, uuid: str, doing: str, work: Callable[[Session], Any]
    ) -> Any | Silent:
        """The answer of the host that has the VM; None: all say that they do not have it.

        An error is returned only where hosts are silent; what the work raises is raised.
        """
        last = self._sightings.last(uuid)
        known = self._hosts.get(last.host) if last else None
        self._loop = asyncio.get_running_loop()
        if known is not None:
            try:
                answer = await known.do(doing, work)
            except Silent as error:
                return error
            if answer is not None:
                return answer
        silent: list[Silent] = []
        # Twice: between two questions a VM may move from a host not yet asked to one that was.
        for _ in range(2):
            answers = await self._ask_all(doing, work)
            silent = [a for a in answers.values() if isinstance(a, Silent)]
            for answer in answers.values():
                if isinstance(answer, HypervisorError) and not isinstance(answer, Silent):
                    raise answer
                if answer is not None and not isinstance(answer, HypervisorError):
                    return answer
            if silent:
                return Silent(f"{self.name}: {'; '.join(str(error) for error in silent)}")
        self._sightings.gone(uuid)
        return None

    # Choosing

    def _host_for(self, intent: Intent) -> Host:
        host = self._hosts.get(intent.host)
        if host is None:
            raise NoCapacity(f"{self.name} has no host {intent.host!r}")
        if host.maintenance:
            raise NoCapacity(f"{self.name}: host {intent.host} is in maintenance")
        return host

    async def _emptiest(self, intent: Intent) -> Host:
        """The host with the most memory left of those on which the VM fits."""
        rooms = [host for host in await self.hosts() if host.state == "Up"]
        fitting = [
            room
            for room in rooms
            if room.cpu_used + intent.cpu * 1000 <= room.cpu * self._overcommit // 100
            and room.memory_used + intent.memory <= room.memory
        ]
        if not fitting:
            raise NoCapacity(
                f"{self.name}: none of {len(rooms)} hosts that are up has room for {intent.cpu} "
                f"CPUs and {intent.memory} bytes"
            )
        best = max(fitting, key=lambda room: (room.memory - room.memory_used, room.name))
        return self._hosts[best.name]

    def _host_info(self, name: str, answer: capacity.Room | HypervisorError) -> HostInfo:
        host = self._hosts[name]
        if isinstance(answer, HypervisorError):
            last = self._sightings.room(name)
            return HostInfo(
                name=name,
                zone=host.zone,
                cpu=last.cpu if last else 0,
                memory=last.memory if last else 0,
                cpu_used=last.cpu_used if last else 0,
                memory_used=last.memory_used if last else 0,
                state="Unknown",
            )
        self._sightings.measured(name, answer)
        return HostInfo(
            name=name,
            zone=host.zone,
            cpu=answer.cpu,
            memory=answer.memory,
            cpu_used=answer.cpu_used,
            memory_used=answer.memory_used,
            state="Maintenance" if host.maintenance else "Up",
        )


def _removed(host: str) -> str:
    return f"host {host} is not in spec.libvirt.hosts any more; put it back until its VMs are gone"
