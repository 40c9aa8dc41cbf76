"""The yardstick for consolidation: the emptiest VM goes first, its pods to where they first fit."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from plimsoll_bench.checker import Group, Rules, rules_of, selects
from plimsoll_bench.clusters import Cluster
from plimsoll_bench.objects import (
    HOSTNAME,
    ZONE,
    Answer,
    Machine,
    key_of,
    quantity_bytes,
    quantity_milli,
    requests_of,
)


@dataclass(frozen=True)
class _Pod:
    key: str
    cpu: int
    memory: int
    rules: Rules


@dataclass
class _Vm:
    name: str
    zone: str
    cpu: int
    memory: int
    max_pods: int
    pods: dict[str, _Pod] = field(default_factory=dict)
    cpu_used: int = 0
    memory_used: int = 0

    @property
    def load(self) -> float:
        return max(self.cpu_used / self.cpu, self.memory_used / self.memory)


def consolidate(cluster: Cluster) -> Answer:
    """The VMs that remain, with their pods, and how long it took to find out.

    One look at each VM, from the emptiest to the fullest: if each of its pods, large ones
    first, fits some other VM, the first by name, it is retired.
    """
    began = time.perf_counter()
    fleet = _Fleet(cluster)
    for vm in sorted(fleet.vms.values(), key=lambda vm: (vm.load, vm.name)):
        fleet.retire(vm)
    seconds = time.perf_counter() - began
    return Answer(
        seconds,
        tuple(
            Machine(
                name=vm.name,
                cpu=vm.cpu,
                memory=vm.memory,
                max_pods=vm.max_pods,
                price=cluster.price(vm.cpu, vm.memory),
                zones=(vm.zone,) if vm.zone else (),
                pods=tuple(vm.pods),
            )
            for vm in fleet.vms.values()
        ),
    )


class _Fleet:
    def __init__(self, cluster: Cluster) -> None:
        self.vms: dict[str, _Vm] = {}
        for node in cluster.nodes:
            name, there = node["metadata"]["name"], node["status"]["allocatable"]
            self.vms[name] = _Vm(
                name,
                node["metadata"]["labels"].get(ZONE, ""),
                quantity_milli(there["cpu"]),
                quantity_bytes(there["memory"]),
                int(there["pods"]),
            )
        self._zones = {vm.zone for vm in self.vms.values()}
        self._counts: defaultdict[Group, Counter[str]] = defaultdict(Counter)
        pods = {}
        for one in cluster.pods:
            pods[key_of(one)] = _Pod(key_of(one), *requests_of(one), rules_of(one)), one
        groups = {
            group
            for pod, _ in pods.values()
            for group in (*pod.rules.anti_affinity, *(group for group, _ in pod.rules.spread))
        }
        self._counted: Callable[[Rules], list[Group]] = _remembered(
            lambda rules: [group for group in groups if selects(group[1], rules)]
        )
        for pod, one in pods.values():
            self._put(pod, self.vms[one["spec"]["nodeName"]])

    def retire(self, vm: _Vm) -> None:
        """Moves all pods of a VM to others and takes it away, or leaves all as it is."""
        moved: list[tuple[_Pod, _Vm]] = []
        for pod in sorted(vm.pods.values(), key=lambda pod: (-pod.cpu, -pod.memory, pod.key)):
            self._take(pod, vm)
            target = next(
                (
                    other
                    for other in self.vms.values()
                    if other is not vm and self._fits(pod, other)
                ),
                None,
            )
            if target is None:
                self._put(pod, vm)
                for back, where in moved:
                    self._take(back, where)
                    self._put(back, vm)
                return
            self._put(pod, target)
            moved.append((pod, target))
        del self.vms[vm.name]

    def _fits(self, pod: _Pod, vm: _Vm) -> bool:
        if (
            vm.cpu_used + pod.cpu > vm.cpu
            or vm.memory_used + pod.memory > vm.memory
            or len(vm.pods) >= vm.max_pods
        ):
            return False
        if any(self._counts[group][_domain(group, vm)] for group in pod.rules.anti_affinity):
            return False
        for group, skew in pod.rules.spread:
            counts = self._counts[group]
            domains = self._zones if group[0] == ZONE else self.vms
            after = counts[_domain(group, vm)] + selects(group[1], pod.rules)
            if after - min(counts[domain] for domain in domains) > skew:
                return False
        return True

    def _put(self, pod: _Pod, vm: _Vm) -> None:
        vm.pods[pod.key] = pod
        self._change(pod, vm, 1)

    def _take(self, pod: _Pod, vm: _Vm) -> None:
        del vm.pods[pod.key]
        self._change(pod, vm, -1)

    def _change(self, pod: _Pod, vm: _Vm, by: int) -> None:
        vm.cpu_used += by * pod.cpu
        vm.memory_used += by * pod.memory
        for group in self._counted(pod.rules):
            self._counts[group][_domain(group, vm)] += by


def _domain(group: Group, vm: _Vm) -> str:
    return vm.name if group[0] == HOSTNAME else vm.zone


def _remembered(function: Callable[[Rules], list[Group]]) -> Callable[[Rules], list[Group]]:
    known: dict[Rules, list[Group]] = {}

    def asked(rules: Rules) -> list[Group]:
        if rules not in known:
            known[rules] = function(rules)
        return known[rules]

    return asked
