"""Which container runs in which machine, where its rules leave a choice.

The planner packs tightly to find out how few machines do. kube-scheduler then places by
its default scores: replicas of a workload apart, and rather on the emptier node
(PodTopologySpread's default constraints, NodeResourcesFit's LeastAllocated). So containers
without rules of their own, to which no rule of others refers, are spread over the
machines of their pool in that spirit. No machine gets more than its load line allows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from plimsoll.api import labels as names
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.compare.estate import Container
from plimsoll.compare.layout import Layout, Machine
from plimsoll.decide.columns import Ints
from plimsoll.decide.sizes import Sizes
from plimsoll.world.selectors import selector_matches
from plimsoll.world.snapshot import PodShape, Resources
from plimsoll.world.wire import LabelSelector

_TIED_TO = frozenset({names.ZONE, names.HOSTNAME, names.HOST})
"""Labels by which machines of one pool differ."""


def spread(
    layout: Layout,
    containers: Iterable[Container],
    specs: Mapping[str, VMPoolSpec],
    daemons: Mapping[str, Resources],
) -> None:
    """Moves containers of a layout to other machines of their pools.

    ``specs`` and ``daemons`` (what its DaemonSet pods request on each machine, and how many
    they are in ``extended["pods"]``) are by the pool that the machines name.
    """
    for room, free in _rooms(layout, containers, specs, daemons):
        alike: defaultdict[tuple[str, str], list[Container]] = defaultdict(list)
        for container in free:
            alike[container.workload, container.shape.key].append(container)
        # Many replicas first, then large ones: they have the least choice.
        for _, replicas in sorted(alike.items(), key=lambda item: (*_rank(item[1]), item[0])):
            room.spread(replicas)
        _Exchange(room, free, lambda machine: machine.name).part()


def part_hosts(
    layout: Layout,
    containers: Iterable[Container],
    specs: Mapping[str, VMPoolSpec],
    daemons: Mapping[str, Resources],
) -> None:
    """Exchanges containers so that fewer workloads run on one host alone; as ``spread``."""
    for room, free in _rooms(layout, containers, specs, daemons):
        _Exchange(room, free, lambda machine: machine.host).part()


def _rooms(
    layout: Layout,
    containers: Iterable[Container],
    specs: Mapping[str, VMPoolSpec],
    daemons: Mapping[str, Resources],
) -> Iterator[tuple[_Room, list[Container]]]:
    """The machines of each pool, and the containers in them that may move."""
    containers = [c for c in containers if c.key in layout.placed]
    free = _free({c.shape.key: c.shape for c in containers}.values())
    by_pool: defaultdict[str, list[Container]] = defaultdict(list)
    for container in containers:
        by_pool[layout.machines[layout.placed[container.key]].pool].append(container)
    for pool, mine in sorted(by_pool.items()):
        room = _Room(layout, pool, specs[pool], daemons[pool], mine)
        yield room, [c for c in mine if c.shape.key in free]


def _rank(replicas: list[Container]) -> tuple[int, int, int]:
    requests = replicas[0].shape.requests
    return -len(replicas), -requests.cpu, -requests.memory


class _Room:
    """Machines of one pool as arrays: what their load lines allow, and what is used."""

    def __init__(
        self,
        layout: Layout,
        pool: str,
        spec: VMPoolSpec,
        daemons: Resources,
        containers: list[Container],
    ) -> None:
        self.placed = layout.placed
        self.numbers = [n for n, m in enumerate(layout.machines) if m.pool == pool]
        self.at = {number: at for at, number in enumerate(self.numbers)}
        self.machines = machines = [layout.machines[n] for n in self.numbers]
        sizes = Sizes.of(spec)
        line, reserved = spec.density.load_line_percent, spec.density.reserved
        self.cpu_line = _array((m.cpu - reserved.cpu) * line // 100 for m in machines)
        self.memory_line = _array((m.memory - reserved.memory) * line // 100 for m in machines)
        self.pods_line = _array(sizes.pods(m.cpu) for m in machines)
        self.cpu = _array(daemons.cpu for _ in machines)
        self.memory = _array(daemons.memory for _ in machines)
        self.pods = _array(daemons.extended.get("pods", 0) for _ in machines)
        for container in containers:
            self.use(container, self.at[self.placed[container.key]], 1)

    def spread(self, replicas: list[Container]) -> None:
        """Puts equal containers on machines apart, the emptiest first, if so many have room."""
        before = [self.at[self.placed[c.key]] for c in replicas]
        for container, at in zip(replicas, before, strict=True):
            self.use(container, at, -1)
        need = replicas[0].shape.requests
        cpu, memory = self.cpu + need.cpu, self.memory + need.memory
        fits = (
            (cpu <= self.cpu_line) & (memory <= self.memory_line) & (self.pods < self.pods_line)
        ).nonzero()[0]
        after = before
        if len(fits):
            share = np.maximum(
                cpu[fits] / self.cpu_line[fits], memory[fits] / self.memory_line[fits]
            )
            apart = fits[np.argsort(share, kind="stable")[: len(replicas)]].tolist()
            # Where too few have room, some keep their place: beside others, if need be.
            after = apart + self._kept(before, apart)[: len(replicas) - len(apart)]
        for container, at in zip(replicas, after, strict=True):
            self.use(container, at, 1)
            self.placed[container.key] = self.numbers[at]

    @staticmethod
    def _kept(before: list[int], apart: list[int]) -> list[int]:
        """Places of before that are still free once one replica is on each of ``apart``."""
        left = list(before)
        for at in apart:
            if at in left:
                left.remove(at)
        return left

    def use(self, container: Container, at: int, times: int) -> None:
        requests = container.shape.requests
        self.cpu[at] += times * requests.cpu
        self.memory[at] += times * requests.memory
        self.pods[at] += times


class _Exchange:
    """Parts workloads that run in one domain alone: two containers change places."""

    def __init__(
        self, room: _Room, containers: list[Container], domain: Callable[[Machine], str]
    ) -> None:
        """``domain`` is that of a machine: itself, or its host."""
        names = [domain(machine) for machine in room.machines]
        known = {name: number for number, name in enumerate(dict.fromkeys(names))}
        self._domains = _array(known[name] for name in names)
        self._room = room
        self._containers = containers
        self._cpu = _array(c.shape.requests.cpu for c in containers)
        self._memory = _array(c.shape.requests.memory for c in containers)
        self._on = _array(room.at[room.placed[c.key]] for c in containers)
        self._of: defaultdict[str, list[int]] = defaultdict(list)
        for number, container in enumerate(containers):
            self._of[container.workload].append(number)

    def part(self) -> None:
        """Exchanges one replica of each such workload, where a partner is found."""
        for mine in self._of.values():
            if len(mine) > 1 and len({self._domain(number) for number in mine}) == 1:
                partner = self._partner(mine[-1])
                if partner is not None:
                    self._exchange(mine[-1], partner)

    def _domain(self, number: int) -> int:
        return int(self._domains[self._on[number]])

    def _partner(self, number: int) -> int | None:
        """A container elsewhere that fits here, as this one fits there."""
        room, here, on = self._room, int(self._on[number]), self._on
        more_cpu, more_memory = self._cpu[number] - self._cpu, self._memory[number] - self._memory
        fits = (
            (self._domains[on] != self._domains[here])
            & (room.cpu[here] - more_cpu <= room.cpu_line[here])
            & (room.memory[here] - more_memory <= room.memory_line[here])
            & (room.cpu[on] + more_cpu <= room.cpu_line[on])
            & (room.memory[on] + more_memory <= room.memory_line[on])
        )
        domain = self._domain(number)
        for other in fits.nonzero()[0].tolist():
            others = self._of[self._containers[other].workload]
            # It must not come to be alone here in its turn.
            if len(others) == 1 or any(self._domain(n) != domain for n in others if n != other):
                return int(other)
        return None

    def _exchange(self, one: int, other: int) -> None:
        room, places = self._room, (int(self._on[other]), int(self._on[one]))
        for number in (one, other):
            room.use(self._containers[number], int(self._on[number]), -1)
        for number, at in zip((one, other), places, strict=True):
            container = self._containers[number]
            room.use(container, at, 1)
            room.placed[container.key] = room.numbers[at]
            self._on[number] = at


def _array(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int64)


def _free(shapes: Iterable[PodShape]) -> frozenset[str]:
    """Keys of shapes that may go anywhere within their pool, whoever else is there."""
    shapes = tuple(shapes)
    meant = _Selectors(selector for shape in shapes for selector in _selectors(shape))
    return frozenset(s.key for s in shapes if _is_free(s) and not meant.any_selects(s.labels))


def _is_free(shape: PodShape) -> bool:
    if shape.affinity or shape.anti_affinity or shape.spread or shape.host_ports:
        return False
    asked = set(shape.node_selector)
    for term in shape.node_affinity.node_selector_terms if shape.node_affinity else ():
        asked.update(requirement.key for requirement in term.match_expressions)
        if term.match_fields:
            return False
    return not asked & _TIED_TO


def _selectors(shape: PodShape) -> Iterator[LabelSelector | None]:
    for term in (*shape.affinity, *shape.anti_affinity):
        yield term.label_selector
    for constraint in shape.spread:
        yield constraint.label_selector


class _Selectors:
    """Label selectors, found again by one label that each asks for."""

    def __init__(self, selectors: Iterable[LabelSelector | None]) -> None:
        self._by_label: defaultdict[tuple[str, str] | None, list[LabelSelector]] = defaultdict(list)
        for selector in selectors:
            if selector is not None:
                first = min(selector.match_labels.items(), default=None)
                if selector not in self._by_label[first]:
                    self._by_label[first].append(selector)

    def any_selects(self, labels: Mapping[str, str]) -> bool:
        """Whether some selector selects such a pod, whatever its namespace."""
        return any(
            selector_matches(selector, labels)
            for label in (None, *labels.items())
            for selector in self._by_label.get(label, ())
        )
