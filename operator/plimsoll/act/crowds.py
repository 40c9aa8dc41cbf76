"""How many pods of one spread may be nominated for one node at a time.

kube-scheduler counts the pods that are nominated for a node as if they were there already
(``RunFilterPluginsWithNominatedPods``), but only for the node that it looks at. So where a plan
puts more pods of a spread onto an empty node than ``maxSkew``, each of them would find the node
too crowded by the others, and the emptiest domain emptier than it will be: all would wait for
each other. At most ``maxSkew`` at a time do not, for the emptiest domain takes them; once they
are bound, the next are due. For an empty selector bound pods do not count
(``countPodsMatchSelector``), nominated ones do (``updateWithPod``): the same rule holds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import msgspec

from plimsoll.world import wire
from plimsoll.world.selectors import selector_matches
from plimsoll.world.shapes import resolved_spread


class _Crowd:
    """Pods nominated for one node that one constraint counts."""

    def __init__(self, namespace: str, constraint: wire.TopologySpreadConstraint) -> None:
        self._namespace = namespace
        self._constraint = constraint
        self.number = 0

    def counts(self, pod: wire.Pod) -> bool:
        meta = pod.metadata
        return meta.namespace == self._namespace and selector_matches(
            self._constraint.label_selector, meta.labels
        )

    def takes(self, pod: wire.Pod) -> bool:
        return not self.counts(pod) or self.number < self._constraint.max_skew


class _There(NamedTuple):
    """What is nominated for one node and minds how pods are spread."""

    pods: list[wire.Pod]
    crowds: dict[bytes, _Crowd]


class Crowds:
    """The nominated pods that are spread, by node."""

    def __init__(self) -> None:
        self._nodes: defaultdict[str, _There] = defaultdict(lambda: _There([], {}))

    def join(self, pod: wire.Pod, node: str) -> bool:
        """Whether one more pod may be nominated for a node; if so, it counts from now on.

        Pods that are spread by no rule of their own wait for nobody.
        """
        own = dict(_crowds_of(pod))
        if not own:
            return True
        there = self._nodes[node]
        for key, crowd in own.items():
            if key not in there.crowds:
                crowd.number = sum(map(crowd.counts, there.pods))
                there.crowds[key] = crowd
        if not all(crowd.takes(pod) for crowd in there.crowds.values()):
            return False
        there.pods.append(pod)
        for crowd in there.crowds.values():
            crowd.number += crowd.counts(pod)
        return True


def _crowds_of(pod: wire.Pod) -> list[tuple[bytes, _Crowd]]:
    namespace = pod.metadata.namespace
    constraints = [
        resolved_spread(constraint, pod.metadata.labels)
        for constraint in pod.spec.topology_spread_constraints
        if constraint.when_unsatisfiable == "DoNotSchedule"
    ]
    return [
        (msgspec.json.encode((namespace, constraint)), _Crowd(namespace, constraint))
        for constraint in constraints
    ]
