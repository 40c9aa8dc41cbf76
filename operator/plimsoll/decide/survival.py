"""The survival promise: after losing hosts, everything still has room.

Two ways to keep it. Where the hypervisor restarts VMs elsewhere (high
availability), the other hosts must have room for the VMs of the lost ones:
what vSphere calls admission control. Where it does not, the other VMs must
have room for the lost containers, and be such as these may run on: their node
selectors, affinities, taints and volumes are heeded, other pods are not.

Asked before every change, so all is kept in step with the fleet: what is looked
at again are VMs that changed and hosts that these are on.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from plimsoll.decide.bounds import Item
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.losing import Losses, Stuck
from plimsoll.world.snapshot import Host, Hypervisor, PodShape, Pool


def broken(fleet: Fleet, pool: str) -> str:
    """Why the pool's survival promise does not hold in this fleet; empty if it does.

    A pool on a hypervisor without an inventory has no known hosts to lose: the
    promise counts as kept, and the plan notes that hosts are unknown.
    """
    watch = _watch(fleet, pool)
    return watch.why() if watch is not None else ""


def holds(fleet: Fleet, pool: str) -> bool:
    """Whether ``broken`` answers nothing; quicker where it would."""
    watch = _watch(fleet, pool)
    return watch is None or watch.holds()


def kept(fleet: Fleet) -> tuple[str, ...]:
    """Pools whose survival promise holds now, by name; those that promise nothing are not named."""
    if not fleet.promising:
        return ()
    if fleet.kept_promises is None or fleet.kept_promises[0] != fleet.version:
        names = tuple(name for name in fleet.promising if holds(fleet, name))
        fleet.kept_promises = (fleet.version, names)
    return fleet.kept_promises[1]


def first_broken(fleet: Fleet, pools: Iterable[str]) -> str:
    """Why the first of these promises that is broken is; empty if none is.

    VMs of every pool share the hosts, so whoever grows one pool asks for all.
    """
    return next((why for name in pools if (why := broken(fleet, name))), "")


class Watch:
    """One pool's promise on one fleet, kept in step with it."""

    def __init__(self, fleet: Fleet, pool: Pool, losses: Losses) -> None:
        self._fleet = fleet
        self._pool = pool.name
        self._losses = losses
        self._seen = -1
        """Entries of the fleet's ``touched`` that were taken in; -1: it never looked."""
        self._held: tuple[int, bool] | None = None
        self._why: tuple[int, str] | None = None
        self._counted: dict[int, tuple[int, int]] = {}
        """By slot of the pool's VMs: its host and how full that makes it."""
        self._items: dict[int, dict[Item, int]] = {}
        """By slot: what is lost with its host."""

    def holds(self) -> bool:
        """Whether the promise holds."""
        version = self._fleet.version
        if self._held is None or self._held[0] != version:
            self._catch_up()
            self._held = (version, self._losses.holds())
        return self._held[1]

    def why(self) -> str:
        """Why it does not hold; empty if it does."""
        version = self._fleet.version
        if self._why is None or self._why[0] != version:
            if self._held is not None and self._held == (version, True):
                return ""
            self._catch_up()
            stuck = self._losses.stuck()
            self._why = (version, self._told(stuck) if stuck is not None else "")
            self._held = (version, stuck is None)
        return self._why[1]

    def begin(self) -> None:
        """The fleet is about to forget what was touched so far."""
        self._catch_up()
        self._seen = 0

    def truncate(self, count: int) -> None:
        """The fleet is about to forget the slots from ``count`` on, all of them closed."""
        self._catch_up()

    def _catch_up(self) -> None:
        touched = self._fleet.touched
        if self._seen == len(touched):
            return
        by_slot = self._fleet.by_slot
        slots = range(len(by_slot)) if self._seen < 0 else sorted(set(touched[self._seen :]))
        self._seen = len(touched)
        for slot in slots:
            # One beyond the end was of a VM that the last plan launched.
            if slot < len(by_slot):
                self._take_in(by_slot[slot])

    def _take_in(self, target: Bin) -> None:
        raise NotImplementedError

    def _told(self, stuck: Stuck) -> str:
        raise NotImplementedError

    def _is_counted(self, target: Bin) -> bool:
        return (
            target.pool is not None
            and target.pool.name == self._pool
            and not target.leaving
            and bool(self._fleet.columns.is_open[target.slot])
        )

    def _count(self, slot: int, host: int, weight: int, items: dict[Item, int]) -> None:
        """What a VM of the pool brings to its host; ``host`` -1: it brings nothing now."""
        losses = self._losses
        now = (host, weight) if host >= 0 else None
        before, held = self._counted.get(slot), self._items.get(slot, {})
        if now == before and items == held:
            return
        if before is not None and now is not None and before[0] == host:
            if before[1] != weight:
                losses.count(host, 0, weight - before[1])
            if items != held:
                losses.change(host, held, items)
        else:
            if before is not None:
                losses.count(before[0], -1, -before[1])
                losses.change(before[0], held, {})
            if now is not None:
                losses.count(host, 1, weight)
                losses.change(host, {}, items)
        if now is None:
            self._counted.pop(slot, None)
            self._items.pop(slot, None)
        else:
            self._counted[slot], self._items[slot] = now, items


class _Restarts(Watch):
    """VMs of lost hosts are restarted on the others."""

    def __init__(self, fleet: Fleet, pool: Pool, hypervisor: Hypervisor) -> None:
        up = sorted(host.name for host in hypervisor.hosts or () if host.state == "Up")
        prices = (1 / fleet.memory_per_cpu, 1 / 1000)
        super().__init__(fleet, pool, Losses(up, pool.spec.survive.hosts, prices))
        self._hypervisor = hypervisor.name
        for number in range(len(up)):
            self._losses.count(number, 1, 0)
            self._show(number)

    def _take_in(self, target: Bin) -> None:
        host = self._losses.numbers.get(target.host, -1)
        if host >= 0 and target.hypervisor == self._hypervisor:
            self._show(host)
        if self._is_counted(target):
            item = Item(target.memory, target.cpu, None, b"")
            self._count(target.slot, host, target.cpu, {item: 1})
        else:
            self._count(target.slot, -1, 0, {})

    def _show(self, host: int) -> None:
        room = self._fleet.room(self._hypervisor, self._losses.hosts[host])
        self._losses.set_bin(host, host, room.memory_free or 0, room.cpu_free or 0, is_open=True)

    def _told(self, stuck: Stuck) -> str:
        alike = sorted(
            target.name
            for target in self._fleet.of_pool(self._pool)
            if target.host in stuck.hosts
            and (target.memory, target.cpu) == (stuck.item.first, stuck.item.second)
        )
        return (
            f"if host {' and '.join(stuck.hosts)} failed, no other host would have room to "
            f"restart VM {alike[stuck.number]} ({stuck.item.second // 1000} CPUs)"
        )


class _Containers(Watch):
    """Containers of lost hosts must find places on the VMs that are left.

    Containers that nobody would miss there are left out: those of DaemonSets, those on
    their way out, and expendable ones. The room of the latter is there for others.
    """

    def __init__(self, fleet: Fleet, pool: Pool, hosts: tuple[Host, ...]) -> None:
        there = {vm.host for vm in fleet.snapshot.vms if vm.pool == pool.name}
        known = sorted({*(host.name for host in hosts), *there} - {""})
        prices = (1 / 1000, 1 / fleet.memory_per_cpu)
        super().__init__(fleet, pool, Losses(known, pool.spec.survive.hosts, prices))
        self._of_shape: dict[str, Item | None] = {}
        """By key of a shape; None: such containers are left out."""

    def truncate(self, count: int) -> None:
        """As it says there."""
        super().truncate(count)
        self._losses.truncate(count)

    def _take_in(self, target: Bin) -> None:
        slot, host = target.slot, self._losses.numbers.get(target.host, -1)
        counted = self._is_counted(target)
        lost, cpu, memory = self._lost_with(target) if counted else ({}, 0, 0)
        self._losses.set_bin(
            slot,
            host,
            target.allocatable_cpu - target.cpu_used + cpu,
            target.allocatable_memory - target.memory_used + memory,
            counted and target.accepts,
        )
        if counted:
            self._count(slot, host, target.cpu_used, lost)
        else:
            self._count(slot, -1, 0, {})

    def _lost_with(self, target: Bin) -> tuple[dict[Item, int], int, int]:
        """Its containers that need another place, and the CPU and memory of expendable ones."""
        found: dict[Item, int] = {}
        cpu = memory = 0
        pods, of_shape = self._fleet.pods, self._of_shape
        terminating, resized = target.terminating, target.resized
        for key, shape in target.pods.items():
            pod = pods.get(key)
            if key in terminating or (pod.daemon if pod is not None else "/" not in key):
                continue
            item = of_shape[shape.key] if shape.key in of_shape else self._item(shape)
            if item is None:
                taken = target.requests(key)
                cpu += taken.cpu
                memory += taken.memory
                continue
            if key in resized:
                taken = resized[key]
                item = item._replace(first=taken.cpu, second=taken.memory)
            found[item] = found.get(item, 0) + 1
        return found, cpu, memory

    def _item(self, shape: PodShape) -> Item | None:
        item = None
        if shape.priority >= self._fleet.snapshot.expendable_below:
            rules = self._fleet.classes.of(shape).rules.nodes
            item = Item(shape.requests.cpu, shape.requests.memory, rules, node_rules(shape))
        self._of_shape[shape.key] = item
        return item

    def _told(self, stuck: Stuck) -> str:
        return (
            f"if host {' and '.join(stuck.hosts)} failed, the other VMs would not have room "
            "for its containers, and the hypervisor restarts none"
        )


def node_rules(shape: PodShape) -> bytes:
    """What a pod asks of a node as such, in an order that is the same in every plan."""
    return msgspec.msgpack.encode(
        (
            sorted(shape.node_selector.items()),
            shape.node_affinity,
            shape.volume_nodes,
            shape.tolerations,
        )
    )


def _watch(fleet: Fleet, name: str) -> Watch | None:
    """The watch over a pool's promise; None: it promises nothing that could be looked at."""
    if name not in fleet.promises:
        pool = fleet.pools[name]
        hypervisor = fleet.hypervisors.get(pool.spec.hypervisor)
        watch: Watch | None = None
        if pool.spec.survive.hosts and hypervisor is not None and hypervisor.hosts is not None:
            if hypervisor.capabilities.high_availability:
                watch = _Restarts(fleet, pool, hypervisor)
            else:
                watch = _Containers(fleet, pool, hypervisor.hosts)
        fleet.promises[name] = watch
    return fleet.promises[name]
