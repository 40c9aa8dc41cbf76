"""Carries out on the API server what a simulated VM means for its node and its pods."""

from __future__ import annotations

import logging
from functools import partial

from plimsoll.kube import AlreadyExists, Conflict, Json, Kube, NotFound, decode
from plimsoll.resources import NODES, PODS
from plimsoll.simulator import nodes
from plimsoll.simulator.nodes import Step
from plimsoll.simulator.records import VmRecord
from plimsoll.world import wire
from plimsoll.world.reflector import Reflector

log = logging.getLogger(__name__)


class Kubelets:
    """The nodes of all simulated VMs. ``reflector`` is to be run by the owner."""

    def __init__(self, kube: Kube) -> None:
        self.reflector = Reflector(kube, NODES, partial(decode, type=wire.Node))
        self._kube = kube

    def step_due(self, vm: VmRecord, alive: bool) -> Step:
        """What the node of this VM lacks to show the VM's state."""
        return nodes.due(vm, self.reflector.store.get("", vm.name), alive)

    async def take(self, step: Step, vm: VmRecord, zone: str, now: float) -> bool:
        """Carries out the step; whether the VM's kubelet has been registered by it.

        Each step is safe to repeat and to break off: what marks it as done comes last.
        """
        node = self.reflector.store.get("", vm.name)
        if step is Step.REGISTER:
            return await self._register(vm, node, zone, now)
        if node is None:
            return False
        try:
            if step is Step.SILENCE:
                await self.silence(node, now)
            elif step is Step.REVIVE:
                await self._revive(node, now)
            elif step is Step.RESIZE:
                status = nodes.resize_patch(vm)
                await self._seen(await self._kube.patch_status(NODES, vm.name, status))
        except (NotFound, Conflict):
            log.info("node %s was deleted or replaced meanwhile", vm.name)
        return False

    async def silence(self, node: wire.Node, now: float) -> None:
        """Nothing more is heard of this node.

        What the node controller would find out after its grace period is
        written at once: the node's readiness is unknown, its pods are not ready.
        """
        name = node.metadata.name
        await self._set_pods_ready(name, False, now)
        await self._kube.merge_patch(NODES, name, nodes.kubelet_patch(node.metadata.uid, False))
        status = {"status": nodes.unheard_status(now)}
        await self._seen(await self._kube.patch_subresource(NODES, name, "status", status))

    async def _register(self, vm: VmRecord, node: wire.Node | None, zone: str, now: float) -> bool:
        if node is None:
            try:
                await self._seen(await self._kube.create(nodes.manifest(vm, zone)))
                return True
            except AlreadyExists:
                node = await self._kube.get(NODES, vm.name, type=wire.Node)
        if not nodes.is_node_of(vm, node):
            log.warning("VM %s cannot join: another machine's node has its name", vm.name)
            return False
        await self._revive(node, now)
        return True

    async def _revive(self, node: wire.Node, now: float) -> None:
        """The kubelet is heard again: its pods run, and kwok makes the node ready."""
        name = node.metadata.name
        await self._set_pods_ready(name, True, now)
        patch = nodes.kubelet_patch(node.metadata.uid, True)
        await self._seen(await self._kube.merge_patch(NODES, name, patch))

    async def _set_pods_ready(self, node: str, is_ready: bool, now: float) -> None:
        pods = await self._kube.list_all(
            PODS, field_selector=f"spec.nodeName={node}", type=wire.Pod
        )
        wrong = "False" if is_ready else "True"
        for pod in pods:
            condition = next((c for c in pod.status.conditions if c.type == "Ready"), None)
            if pod.status.phase != "Running" or condition is None or condition.status != wrong:
                continue
            meta = pod.metadata
            patch = {
                "metadata": {"uid": meta.uid},
                "status": nodes.pod_ready_status(is_ready, now),
            }
            try:
                await self._kube.patch_subresource(PODS, meta.name, "status", patch, meta.namespace)
            except (NotFound, Conflict):
                continue  # gone, or another pod of the same name: nothing to say of it

    async def _seen(self, node: Json) -> None:
        """Returns when the local copy shows what was written, so that it is not repeated."""
        meta = node["metadata"]
        await self.reflector.wait_for("", meta["name"], meta["resourceVersion"])
