"""Who replicates what, and where the replicas are: the planner's roster of workloads.

Kept true while the plan is worked out; redundancy is judged on it.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from plimsoll.api import labels as names
from plimsoll.decide import sizing, wording
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


class Roster:
    """The workloads of a snapshot with their replicas, those of this plan included."""

    def __init__(self, snapshot: Snapshot, fleet: Fleet) -> None:
        self._fleet = fleet
        self.workloads = {workload.key: workload for workload in snapshot.workloads}
        self._pods: dict[str, list[Pod]] = {key: [] for key in self.workloads}
        self._added: dict[str, list[str]] = {key: [] for key in self.workloads}
        """New replicas that this plan places."""
        for pod in snapshot.pods:
            if pod.workload in self._pods and not pod.terminating:
                self._pods[pod.workload].append(pod)

    def pods(self, workload: Workload) -> list[Pod]:
        """The workload's pods that are there to stay."""
        return self._pods[workload.key]

    def added(self, workload: Workload) -> list[str]:
        """Keys of the new replicas that found a place."""
        return self._added[workload.key]

    def add(self, workload: Workload, pod: str) -> None:
        """A new replica found a place."""
        self._added[workload.key].append(pod)

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
        workload = self.workloads.get(key or "")
        if workload is None or workload.spec.redundancy.survive == 0:
            return None
        label = names.TOPOLOGY_KEYS[workload.spec.redundancy.across]
        counts = Counter(
            target.labels.get(label, "")
            for _, target in self._homes(workload.key)
            if target.vm is None or not target.vm.lost
        )
        return Preference(label, counts)

    def apart(self, key: str | None) -> Apart | None:
        """Keeps a further replica out of the domains in use while these may all be lost."""
        workload = self.workloads.get(key or "")
        if workload is None or workload.spec.redundancy.survive == 0:
            return None
        promise = workload.spec.redundancy
        label = names.TOPOLOGY_KEYS[promise.across]
        used = {
            target.labels[label]
            for _, target in self._homes(workload.key)
            if label in target.labels and (target.vm is None or not target.vm.lost)
        }
        if not 0 < len(used) <= promise.survive:
            return None
        return Apart(
            label,
            frozenset(used),
            f"{workload.key} must survive the loss of {promise.survive} {promise.across}(s), and "
            f"its replicas are on {', '.join(sorted(used))} only (out for redundancy)",
        )

    def redundancy(self, workload: Workload) -> tuple[bool, str]:
        """Whether the workload survives the promised loss where its replicas are now.

        The rest must carry the measured demand; where none is known, there must be a rest.
        """
        survive = workload.spec.redundancy.survive
        if survive == 0:
            return True, ""
        across = workload.spec.redundancy.across
        key = names.TOPOLOGY_KEYS[across]
        by_domain: dict[str, list[Resources]] = {}
        for name, target in self._homes(workload.key):
            vm = target.vm
            if vm is not None and (vm.lost or not vm.ready):
                continue
            domain = target.labels.get(key)
            if domain is not None:
                by_domain.setdefault(domain, []).append(self._size_of(workload, name, target))
        fullest = sorted(
            by_domain, key=lambda d: (-sum(r.cpu for r in by_domain[d]), -len(by_domain[d]), d)
        )
        rest = [size for domain in fullest[survive:] for size in by_domain[domain]]
        if not rest:
            number = len(by_domain)
            return False, (
                f"its replicas are on {number} {across}{'' if number == 1 else 's'}; "
                f"surviving {survive} takes at least {survive + 1}"
            )
        if workload.demand is None:
            return True, ""
        need = sizing.need_of(workload.spec, workload.demand.cpu, workload.demand.memory)
        cpu, memory = sum(r.cpu for r in rest), sum(r.memory for r in rest)
        if cpu < need.cpu or memory < need.memory:
            return False, (
                f"after losing {survive} {across}(s) the rest offers "
                f"{wording.size(Size(cpu=cpu, memory=memory))}, the load needs "
                f"{wording.size(Size(cpu=need.cpu, memory=need.memory))}"
            )
        return True, ""

    def domains(self, workload: Workload) -> int | None:
        """Failure domains that there are for a workload; None: no end to them is known."""
        across = workload.spec.redundancy.across
        if across == "vm":
            return None
        found: set[str] = set()
        key = names.TOPOLOGY_KEYS[across]
        for target in self._fleet.bins.values():
            if target.accepts and key in target.labels:
                found.add(target.labels[key])
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

    def _homes(self, key: str) -> list[tuple[str, Bin]]:
        """The workload's placed pods, new replicas included, with their VMs."""
        where = self._fleet.where
        own = [pod.key for pod in self._pods[key]] + self._added[key]
        return [(pod, self._fleet.bins[where[pod]]) for pod in own if pod in where]

    def _size_of(self, workload: Workload, pod: str, target: Bin) -> Resources:
        total = target.requests(pod)
        return Resources(
            cpu=total.cpu - workload.overhead.cpu, memory=total.memory - workload.overhead.memory
        )
