"""Gathers the situation of one VMNode: from what is kept in memory, or live."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from plimsoll.act.providers import NotConfigured, Providers
from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import VMNodeStatus
from plimsoll.apierrors import NotFound
from plimsoll.decide.life.existence import (
    Existence,
    Exists,
    Gone,
    NotAsked,
    Question,
    Unknown,
    question,
)
from plimsoll.decide.life.pods import PodsOnNode, pods_on_node
from plimsoll.decide.life.situation import HypervisorFacts, Situation
from plimsoll.hypervisors.contract import HypervisorError, Provider, RateLimited, VmInfo
from plimsoll.kube import Kube
from plimsoll.resources import NODES, PODS, VMNODES
from plimsoll.world import wire
from plimsoll.world.pods import held_by_annotation
from plimsoll.world.stores import World


@dataclass(frozen=True)
class Looker:
    """Looks at VMNodes. ``started_at`` is when this process began to watch."""

    kube: Kube
    world: World
    providers: Providers
    started_at: float
    clock: Callable[[], float] = time.time
    _sorted: dict[str, tuple[tuple[wire.Pod, ...], str, PodsOnNode]] = field(default_factory=dict)
    """By node: its pods as kept in memory, why they stay, and what comes of both."""

    def cached(self, name: str) -> Situation | None:
        """The situation as far as memory goes; None: a live look is needed."""
        record = self.world.vmnodes.store.get("", name)
        if record is None or question(record) is not Question.SIGHTING:
            return None
        hypervisor = self._hypervisor(record)
        identity = record.status.identity if record.status else None
        vm = self.providers.sighting(hypervisor, identity.uuid) if hypervisor and identity else None
        if vm is None:
            return None
        node = self.world.nodes.store.get("", name)
        pods = self._kept_pods(record, node)
        return self._situation(record, hypervisor, Exists(vm=vm), node, pods)

    def _kept_pods(self, record: VMNode, node: wire.Node | None) -> PodsOnNode:
        name, why = record.metadata.name, _held(record, node)
        pods = self.world.occupancy.pods_on(name)
        known = self._sorted.get(name)
        if known is None or known[0] is not pods or known[1] != why:
            known = self._sorted[name] = (pods, why, pods_on_node(pods, why))
        if not pods:
            del self._sorted[name]
        return known[2]

    async def live(self, name: str) -> Situation | None:
        """The situation as API server and hypervisor tell it now; None: there is no VMNode.

        Raises:
            ApiError: the API server cannot be asked.
        """
        try:
            record = VMNode.model_validate(await self.kube.get(VMNODES, name))
        except NotFound:
            return None
        node: wire.Node | None
        try:
            node = await self.kube.get(NODES, name, type=wire.Node)
        except NotFound:
            node = None
        pods: list[wire.Pod] = []
        if node is not None:
            selector = f"spec.nodeName={name}"
            pods = await self.kube.list_all(PODS, field_selector=selector, type=wire.Pod)
        hypervisor = self._hypervisor(record)
        existence = await self._existence(record, hypervisor)
        found = pods_on_node(pods, _held(record, node))
        return self._situation(record, hypervisor, existence, node, found)

    def _hypervisor(self, record: VMNode) -> Hypervisor | None:
        return self.world.hypervisors.store.get("", record.spec.hypervisor)

    def _situation(
        self,
        record: VMNode,
        hypervisor: Hypervisor | None,
        existence: Existence,
        node: wire.Node | None,
        pods: PodsOnNode,
    ) -> Situation:
        pool = self.world.pools.store.get("", record.spec.pool)
        now = self.clock()
        return Situation(
            record=record,
            cluster=self.providers.cluster,
            now=now,
            watching_since=self._watching_since(hypervisor, now),
            existence=existence,
            node=node,
            pods=pods,
            pool=pool.spec if pool else None,
            hypervisor=facts(hypervisor),
        )

    def _watching_since(self, hypervisor: Hypervisor | None, now: float) -> float:
        """While the hypervisor does not answer no timer runs, and then each starts anew."""
        conditions = hypervisor.status.conditions if hypervisor and hypervisor.status else ()
        for condition in conditions:
            if condition.type == "Ready" and condition.status == "True":
                return max(self.started_at, parse_rfc3339(condition.last_transition_time))
        return now

    async def _existence(self, record: VMNode, hypervisor: Hypervisor | None) -> Existence:
        asked = question(record)
        if asked is Question.NONE:
            return NotAsked()
        if hypervisor is None:
            name = record.spec.hypervisor
            return Unknown(message=f"there is no Hypervisor {name!r}", reason="HypervisorNotFound")
        try:
            provider = await self.providers.of(hypervisor)
            return await _ask(provider, record, asked)
        except NotConfigured as error:
            return Unknown(message=str(error), reason=error.reason)
        except RateLimited as error:
            return Unknown(message=str(error), reason="RateLimited")
        except HypervisorError as error:
            return Unknown(message=str(error))


async def _ask(provider: Provider, record: VMNode, asked: Question) -> Existence:
    status = record.status or VMNodeStatus()
    if asked is not Question.OWNER and status.identity is not None:
        vm = await provider.describe(status.identity.uuid, status.host)
        if vm is not None:
            return Exists(vm=vm)
        if asked is not Question.LAST:
            return Gone()
    owned = await provider.owned_by(record.metadata.uid, record.spec.host)
    # Should there be two, both sides of a restart must choose the same; the other
    # is an orphan, which the inventory reports.
    return Exists(vm=min(owned, key=_age)) if owned else Gone()


def _age(vm: VmInfo) -> tuple[float, str]:
    return vm.created, vm.uuid


def _held(record: VMNode, node: wire.Node | None) -> str:
    """Why nothing on its node may be moved; empty: it may."""
    annotations = {**record.metadata.annotations, **(node.metadata.annotations if node else {})}
    why = held_by_annotation(annotations)
    return f"its node: {why}" if why else ""


def facts(hypervisor: Hypervisor | None) -> HypervisorFacts:
    """What the life cycle needs of a Hypervisor object."""
    if hypervisor is None:
        return HypervisorFacts(known=False)
    status = hypervisor.status
    hosts = {host.name: (host.state, host.zone) for host in status.hosts} if status else {}
    facts = HypervisorFacts(restart_window=hypervisor.spec.restart_window, hosts=hosts)
    if status is None or status.capabilities is None:
        return facts
    return HypervisorFacts(
        restart_window=facts.restart_window, hosts=hosts, capabilities=status.capabilities
    )
