"""Which container runs in which machine, where its rules leave a choice.

The planner packs tightly to find out how few machines do. kube-scheduler then places by
its default scores: replicas of a workload apart, and rather on the emptier node
(PodTopologySpread's default constraints, NodeResourcesFit's LeastAllocated). So containers
without rules of their own, to which no rule of others refers, are spread over the
machines of their pool in that spirit. No machine gets more than its load line allows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from plimsoll.api import labels as names
from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.compare.estate import Container
from plimsoll.compare.layout import Layout
from plimsoll.decide.selectors import selector_matches
from plimsoll.decide.sizes import Sizes
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
    containers = [c for c in containers if c.key in layout.placed]
    free = _free({c.shape.key: c.shape for c in containers}.values())
    by_pool: defaultdict[str, list[Container]] = defaultdict(list)
    for container in containers:
        by_pool[layout.machines[layout.placed[container.key]].pool].append(container)
    for pool, mine in sorted(by_pool.items()):
        room = _Room(layout, pool, specs[pool], daemons[pool], mine)
        for container in sorted(mine, key=lambda c: (c.workload, c.key)):
            if container.shape.key in free:
                room.improve(container)


class _Room:
    """Machines of one pool as arrays: what is used of each, and by whom."""

    def __init__(
        self,
        layout: Layout,
        pool: str,
        spec: VMPoolSpec,
        daemons: Resources,
        containers: list[Container],
    ) -> None:
        self._placed = layout.placed
        self._numbers = [n for n, m in enumerate(layout.machines) if m.pool == pool]
        self._at = {number: at for at, number in enumerate(self._numbers)}
        sizes = Sizes.of(spec)
        line, reserved = spec.density.load_line_percent, spec.density.reserved
        machines = [layout.machines[number] for number in self._numbers]
        self._line = np.array(
            [
                [
                    max(1, (m.cpu - reserved.cpu) * line // 100),
                    max(1, (m.memory - reserved.memory) * line // 100),
                    sizes.pods(m.cpu),
                ]
                for m in machines
            ],
            dtype=np.int64,
        )
        self._used = np.tile(_need(daemons, daemons.extended.get("pods", 0)), (len(machines), 1))
        for container in containers:
            at = self._at[self._placed[container.key]]
            self._used[at] += _need(container.shape.requests, 1)
        self._workload = ""
        self._replicas = np.zeros(len(machines))
        self._of: defaultdict[str, list[int]] = defaultdict(list)
        for container in containers:
            self._of[container.workload].append(self._at[self._placed[container.key]])

    def improve(self, container: Container) -> None:
        """Moves a container to where fewer of its replicas are, or where less is used."""
        if container.workload != self._workload:
            self._workload = container.workload
            self._replicas[:] = 0
            np.add.at(self._replicas, self._of[container.workload], 1)
        here = self._at[self._placed[container.key]]
        need = _need(container.shape.requests, 1)
        self._used[here] -= need
        self._replicas[here] -= 1
        after = self._used + need
        share = (after[:, :2] / self._line[:, :2]).max(axis=1)
        # A replica beside it weighs more than any difference in use.
        score = self._replicas * 2 + share
        fits = np.asarray((after <= self._line).all(axis=1))
        fits[here] = True
        there = int(np.where(fits, score, np.inf).argmin())
        if score[there] >= score[here]:
            there = here
        self._used[there] += need
        self._replicas[there] += 1
        self._placed[container.key] = self._numbers[there]


def _need(requests: Resources, pods: int) -> npt.NDArray[np.int64]:
    return np.array([requests.cpu, requests.memory, pods], dtype=np.int64)


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
