"""Pods of the snapshot, of which only those that changed are made anew."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from plimsoll.world import snapshot, wire
from plimsoll.world.owners import Index, Kin, kin_of, workload_of_kin
from plimsoll.world.pods import FINISHED, PodMaker
from plimsoll.world.shapes import Shapes
from plimsoll.world.tracking import Changes, same
from plimsoll.world.volumes import has_claims

_MANY: Final = 8
"""From an eighth of all pods on, sorting all is quicker than putting each in its place."""
_SLACK: Final = 1000


class Pods:
    """Unfinished pods by key."""

    def __init__(self, index: Index, shapes: Shapes) -> None:
        self.all: tuple[snapshot.Pod, ...] = ()
        self.namespaces: Counter[str] = Counter()
        """How many pods each namespace has."""
        self._index = index
        self._maker = PodMaker(shapes)
        self._steered: Mapping[str, str] = {}
        self._wire: dict[str, wire.Pod] = {}
        self._claiming: set[str] = set()
        self._owners: dict[Kin, tuple[str | None, str]] = {}
        self._keys: list[str] = []
        self._pods: list[snapshot.Pod] = []
        self._newest: dict[str, float] | None = None
        self._bereft: set[str] = set()
        """Nodes whose newest pod is gone."""
        self._gone: set[str] = set()
        self._due: set[str] = set()
        """Pods to be made, or made anew."""

    def newest(self) -> Mapping[str, float]:
        """By node name: when the newest of its pods was created."""
        if self._newest is None:
            self._newest = _newest(self.all)
        elif self._bereft:
            for node in self._bereft:
                self._newest.pop(node, None)
            self._newest |= _newest(pod for pod in self.all if pod.node in self._bereft)
        self._bereft = set()
        return self._newest

    def shapes_changed(self, shapes: Shapes) -> None:
        """All pods are to be made anew."""
        self._maker = PodMaker(shapes)
        self._due |= self._wire.keys()

    def forget_likenesses(self) -> None:
        """Asks for the shape of every further pod anew."""
        self._maker.forget()

    def volumes_changed(self) -> None:
        """Pods with claims are to be made anew."""
        self._due |= self._claiming

    def owners_changed(self, steered: Mapping[str, str]) -> None:
        """Pods that belong to another workload now are to be made anew.

        ``steered`` names the container that a workload resizes, by the workload's key.
        """
        self._steered = steered
        if len(self._owners) > 2 * len(self._keys) + _SLACK:
            live = {kin_of(pod) for pod in self._wire.values()}
            self._owners = {kin: owner for kin, owner in self._owners.items() if kin in live}
        owners = {kin: self._owner(kin) for kin in self._owners}
        changed = {kin for kin, owner in owners.items() if owner != self._owners[kin]}
        self._owners = owners
        if changed:
            self._due |= {key for key, pod in self._wire.items() if kin_of(pod) in changed}

    def change(self, changes: Changes[wire.Pod]) -> None:
        """Takes in which pods are gone and which are new; one that changed is both."""
        new = {_key(pod): pod for pod in changes.new if pod.status.phase not in FINISHED}
        gone = [key for pod in changes.gone if (key := _key(pod)) not in new and key in self._wire]
        for key in gone:
            del self._wire[key]
            self._claiming.discard(key)
        for key, pod in new.items():
            self._wire[key] = pod
            if has_claims(pod.spec.volumes):
                self._claiming.add(key)
            else:
                self._claiming.discard(key)
        self._gone.update(gone)
        self._due |= new.keys()

    def make(self) -> None:
        """Brings ``all`` up to date."""
        # In the order of the objects, which is nearly that of the keys.
        due = self._wire if len(self._due) == len(self._wire) else self._due & self._wire.keys()
        made = [self._made(self._wire[key]) for key in due]
        gone = self._gone - self._wire.keys()
        self._gone, self._due = set(), set()
        if (len(gone) + len(made)) * _MANY > len(self._keys):
            changed = self._put_many(gone, made)
        else:
            changed = self._put_few(gone, made)
        if changed:
            self.all = tuple(self._pods)

    def _owner(self, kin: Kin) -> tuple[str | None, str]:
        """The workload of such pods, and the container of theirs that it resizes."""
        workload = workload_of_kin(kin, self._index)
        return workload, self._steered.get(workload or "", "")

    def _made(self, pod: wire.Pod) -> snapshot.Pod:
        kin = kin_of(pod)
        owner = self._owners.get(kin)
        if owner is None:
            owner = self._owners[kin] = self._owner(kin)
        return self._maker.of(pod, *owner)

    def _put_many(self, gone: Iterable[str], made: Iterable[snapshot.Pod]) -> bool:
        pods = dict(zip(self._keys, self._pods, strict=True))
        for key in gone:
            del pods[key]
        for pod in made:
            known = pods.setdefault(pod.key, pod)
            if known is not pod and known != pod:
                pods[pod.key] = pod
        self._newest = None
        before, self._keys = self._pods, sorted(pods)
        self._pods = [pods[key] for key in self._keys]
        self.namespaces = Counter(pod.namespace for pod in self._pods)
        return not same(before, self._pods)

    def _put_few(self, gone: Iterable[str], made: Iterable[snapshot.Pod]) -> bool:
        changed = False
        for key in gone:
            at = bisect_left(self._keys, key)
            self.namespaces[self._pods[at].namespace] -= 1
            self._leaves(self._pods[at])
            del self._keys[at], self._pods[at]
            changed = True
        for pod in made:
            at = bisect_left(self._keys, pod.key)
            if at == len(self._keys) or self._keys[at] != pod.key:
                self._keys.insert(at, pod.key)
                self._pods.insert(at, pod)
                self.namespaces[pod.namespace] += 1
            elif self._pods[at] != pod:
                self._leaves(self._pods[at])
                self._pods[at] = pod
            else:
                continue
            self._enters(pod)
            changed = True
        return changed

    def _leaves(self, pod: snapshot.Pod) -> None:
        """A pod is on its node no more."""
        newest = self._newest
        if newest is not None and pod.node is not None and newest.get(pod.node) == pod.created:
            self._bereft.add(pod.node)

    def _enters(self, pod: snapshot.Pod) -> None:
        """A pod has come to its node."""
        newest = self._newest
        if newest is not None and pod.node is not None:
            newest[pod.node] = max(newest.get(pod.node, 0.0), pod.created)


def _newest(pods: Iterable[snapshot.Pod]) -> dict[str, float]:
    """By node name: when the newest of its pods was created."""
    newest: defaultdict[str, float] = defaultdict(float)
    for pod in pods:
        if pod.node is not None and pod.created > newest[pod.node]:
            newest[pod.node] = pod.created
    return newest


def _key(pod: wire.Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"
