"""Who replicates what, and where the replicas are: the planner's roster of workloads.

Kept true while the plan is worked out; redundancy is judged on it. Replicas are counted
by failure domain, and counted again only on VMs that changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from plimsoll.api import labels as names
from plimsoll.decide import sizing, wording
from plimsoll.decide.columns import ABSENT
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.plan import Size
from plimsoll.decide.preferring import Apart, Preference
from plimsoll.world.snapshot import Pod, PodShape, Resources, Snapshot, Workload


class Taken(NamedTuple):
    """A replica that was taken out of its VM."""

    key: str
    source: Bin
    shape: PodShape
    requests: Resources


class _Amount(NamedTuple):
    """Replicas together. Millicores and bytes, overhead included."""

    number: int = 0
    cpu: int = 0
    memory: int = 0

    def plus(self, other: _Amount, sign: int = 1) -> _Amount:
        return _Amount(
            self.number + sign * other.number,
            self.cpu + sign * other.cpu,
            self.memory + sign * other.memory,
        )


_NONE = _Amount()


class _Spread:
    """One workload's replicas by failure domain; None: on VMs without one."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.counts: dict[str | None, int] = {}
        """Those that are not on lost VMs."""
        self.serving: dict[str, _Amount] = {}
        """Those on VMs that are ready, where the domain is known."""
        self.judged: tuple[Workload, tuple[bool, str]] | None = None
        """Remembered by ``redundancy`` until anything changes."""

    def add(self, target: Bin, amount: _Amount, sign: int) -> None:
        """So many more on a VM, or fewer."""
        self.judged = None
        vm, domain = target.vm, target.labels.get(self.label)
        if vm is not None and vm.lost:
            return
        self.counts[domain] = self.counts.get(domain, 0) + sign * amount.number
        if not self.counts[domain]:
            del self.counts[domain]
        if domain is not None and (vm is None or vm.ready):
            self.serving[domain] = self.serving.get(domain, _NONE).plus(amount, sign)
            if not self.serving[domain].number:
                del self.serving[domain]


class Roster:
    """The workloads of a snapshot with their replicas, those of this plan included."""

    def __init__(self, snapshot: Snapshot, fleet: Fleet) -> None:
        self._fleet = fleet
        self.workloads = {workload.key: workload for workload in snapshot.workloads}
        self._pods: dict[str, list[Pod]] = {key: [] for key in self.workloads}
        self._added: dict[str, list[str]] = {key: [] for key in self.workloads}
        """New replicas that this plan places."""
        self._spreads = {
            key: _Spread(names.TOPOLOGY_KEYS[workload.spec.redundancy.across])
            for key, workload in self.workloads.items()
            if workload.spec.redundancy.survive
        }
        """Of workloads that promise anything."""
        self._owners: dict[str, str] = {}
        """By pod: its workload, of those."""
        self._on_slot: dict[int, dict[str, _Amount]] = {}
        """By VM slot and workload: what was counted there."""
        self._seen = -1
        """Entries of the fleet's ``touched`` that were taken in; -1: it never looked."""
        self._stale: set[int] = set()
        """Further slots that must be counted again."""
        self._domains: dict[str, tuple[int, int | None]] = {}
        for pod in snapshot.pods if self.workloads else ():
            if pod.workload is not None and pod.workload in self._pods and not pod.terminating:
                self._pods[pod.workload].append(pod)
                if pod.workload in self._spreads:
                    self._owners[pod.key] = pod.workload

    def pods(self, workload: Workload) -> list[Pod]:
        """The workload's pods that are there to stay."""
        return self._pods[workload.key]

    def added(self, workload: Workload) -> list[str]:
        """Keys of the new replicas that found a place."""
        return self._added[workload.key]

    def add(self, workload: Workload, pod: str) -> None:
        """A new replica found a place."""
        self._added[workload.key].append(pod)
        if workload.key in self._spreads:
            self._owners[pod] = workload.key
            self._stale.add(self._fleet.bins[self._fleet.where[pod]].slot)

    def remove(self, workload: Workload, leaving: list[Pod]) -> list[Taken]:
        """These replicas leave, with what they take; answers what ``restore`` needs."""
        taken = []
        for pod in leaving:
            if pod.key in self._fleet.where:
                source = self._fleet.bins[self._fleet.where[pod.key]]
                taken.append(Taken(pod.key, source, source.pods[pod.key], source.requests(pod.key)))
                self._fleet.take(pod.key)
        self._pods[workload.key] = [p for p in self._pods[workload.key] if p not in leaving]
        return taken

    def restore(self, workload: Workload, pods: list[Pod], taken: list[Taken]) -> None:
        """Takes a removal back: ``pods`` are the replicas that there were."""
        for key, source, shape, requests in taken:
            self._fleet.put(key, shape, source)
            if requests != shape.requests:
                self._fleet.resize_pod(key, requests)
        self._pods[workload.key] = pods

    def preference(self, key: str | None) -> Preference | None:
        """Prefers domains with the fewest replicas of a workload that must survive a loss."""
        spread = self._spread(key)
        if spread is None:
            return None
        counts = {domain: number for domain, number in spread.counts.items() if domain is not None}
        if None in spread.counts:
            counts[""] = counts.get("", 0) + spread.counts[None]
        return Preference(spread.label, counts)

    def apart(self, key: str | None) -> Apart | None:
        """Keeps a further replica out of the domains in use while these may all be lost."""
        spread = self._spread(key)
        if spread is None or key is None:
            return None
        promise = self.workloads[key].spec.redundancy
        used = {domain for domain in spread.counts if domain is not None}
        if not 0 < len(used) <= promise.survive:
            return None
        return Apart(
            spread.label,
            frozenset(used),
            f"{key} must survive the loss of {promise.survive} {promise.across}(s), and "
            f"its replicas are on {', '.join(sorted(used))} only (out for redundancy)",
        )

    def redundancy(self, workload: Workload) -> tuple[bool, str]:
        """Whether the workload survives the promised loss where its replicas are now.

        The rest must carry the measured demand; where none is known, there must be a rest.
        """
        spread = self._spread(workload.key)
        if spread is None:
            return True, ""
        if spread.judged is None or spread.judged[0] is not workload:
            spread.judged = (workload, _redundancy(workload, spread.serving))
        return spread.judged[1]

    def domains(self, workload: Workload) -> int | None:
        """Failure domains that there are for a workload; None: no end to them is known."""
        across = workload.spec.redundancy.across
        if across == "vm":
            return None
        version = self._fleet.columns.takes_version
        known = self._domains.get(across)
        if known is None or known[0] != version:
            known = self._domains[across] = (version, self._count_domains(across))
        return known[1]

    def _count_domains(self, across: str) -> int | None:
        columns = self._fleet.columns
        column = columns.label(names.TOPOLOGY_KEYS[across])
        codes = np.unique(column.codes[columns.takes]).tolist()
        found = {column.values[code] for code in codes if code != ABSENT}
        for hypervisor in self._fleet.hypervisors.values():
            if hypervisor.hosts is None:
                return None
            for host in hypervisor.hosts:
                if host.state == "Up":
                    found.add(host.name if across == "host" else host.zone)
        if across == "zone":
            for pool in self._fleet.pools.values():
                found.update(pool.spec.zones)
            found.discard("")
        return len(found)

    def _spread(self, key: str | None) -> _Spread | None:
        """Where a workload's replicas are now; None: it promises nothing."""
        spread = self._spreads.get(key or "")
        if spread is not None:
            self._catch_up()
        return spread

    def _catch_up(self) -> None:
        fleet, touched = self._fleet, self._fleet.touched
        if self._seen == len(touched) and not self._stale:
            return
        slots = range(len(fleet.by_slot)) if self._seen < 0 else set(touched[self._seen :])
        self._seen = len(touched)
        for slot in sorted(self._stale.union(slots)):
            self._count(fleet.by_slot[slot])
        self._stale.clear()

    def _count(self, target: Bin) -> None:
        """Counts the replicas on one VM again."""
        owners, found = self._owners, dict[str, _Amount]()
        for pod in target.pods:
            owner = owners.get(pod)
            if owner is not None:
                taken = target.requests(pod)
                amount = _Amount(1, taken.cpu, taken.memory)
                found[owner] = found[owner].plus(amount) if owner in found else amount
        before = self._on_slot.get(target.slot, {})
        if found == before:
            return
        for owner, amount in before.items():
            if found.get(owner) != amount:
                self._spreads[owner].add(target, amount, -1)
        for owner, amount in found.items():
            if before.get(owner) != amount:
                self._spreads[owner].add(target, amount, 1)
        self._on_slot[target.slot] = found


def _redundancy(workload: Workload, serving: Mapping[str, _Amount]) -> tuple[bool, str]:
    """As ``Roster.redundancy``, for replicas that serve in these domains."""
    promise = workload.spec.redundancy
    survive, across, overhead = promise.survive, promise.across, workload.overhead

    def offered(domain: str) -> tuple[int, int]:
        number, cpu, memory = serving[domain]
        return cpu - number * overhead.cpu, memory - number * overhead.memory

    fullest = sorted(serving, key=lambda d: (-offered(d)[0], -serving[d].number, d))
    rest = [offered(domain) for domain in fullest[survive:]]
    if not rest:
        number = len(serving)
        return False, (
            f"its replicas are on {number} {across}{'' if number == 1 else 's'}; "
            f"surviving {survive} takes at least {survive + 1}"
        )
    if workload.demand is None:
        return True, ""
    need = sizing.need_of(workload.spec, workload.demand.cpu, workload.demand.memory)
    cpu, memory = sum(cpu for cpu, _ in rest), sum(memory for _, memory in rest)
    if cpu < need.cpu or memory < need.memory:
        return False, (
            f"after losing {survive} {across}(s) the rest offers "
            f"{wording.size(Size(cpu=cpu, memory=memory))}, the load needs "
            f"{wording.size(Size(cpu=need.cpu, memory=need.memory))}"
        )
    return True, ""
