"""Moves of pods: a new size in place, or an eviction."""

from __future__ import annotations

from typing import Any

from plimsoll.act import fields
from plimsoll.act.outcome import Refused
from plimsoll.apierrors import Conflict, NotFound, TooManyRequests
from plimsoll.decide.plan import Reason, Size
from plimsoll.kube import Json, Kube
from plimsoll.resources import PODS
from plimsoll.world import wire
from plimsoll.world.pods import held, steered_container

_ALREADY_LEAVING = (NotFound, Conflict)


async def resize(
    kube: Kube, pod: wire.Pod, container: str, size: Size, may_restart: bool
) -> Json | None:
    """Gives the steered container (empty: the first) new requests, limits in proportion.

    Raises:
        Refused: the pod is gone, has no such container, or would be restarted
            although that was not part of the decision.
        ApiError: the API server refuses, for instance because a quota is used up.
    """
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    steered = steered_container(pod.spec, container)
    if steered is None:
        raise Refused(Reason.NOT_MODELLED, f"{name} has no container {container!r}")
    resources = fields.resized(steered.resources, size)
    if not resources:
        return None
    if not may_restart and _would_restart(steered, resources):
        raise Refused(Reason.HELD, f"a resize would restart container {steered.name} of {name}")
    patch = fields.resize_patch(pod, steered.name, resources)
    try:
        patched = await kube.patch_subresource(
            PODS, pod.metadata.name, "resize", patch, pod.metadata.namespace
        )
    except _ALREADY_LEAVING as error:
        raise Refused(Reason.IN_FLIGHT, f"{name} is not the pod decided on: {error}") from None
    return patched


async def evict(kube: Kube, pod: wire.Pod, node: str) -> Json | None:
    """Evicts the pod, if it is still there and nothing holds it back.

    Raises:
        Refused: it has moved, somebody holds it back, or a budget allows no eviction.
    """
    namespace, name = pod.metadata.namespace, pod.metadata.name
    try:
        live = await kube.get(PODS, name, namespace, type=wire.Pod)
    except NotFound:
        return None
    if live.metadata.uid != pod.metadata.uid or live.metadata.deletion_timestamp:
        return None
    if live.spec.node_name != node:
        raise Refused(Reason.IN_FLIGHT, f"{namespace}/{name} is not on {node} any more")
    why = held(live)
    if why:
        raise Refused(Reason.HELD, f"{namespace}/{name}: {why}")
    try:
        await kube.evict(name, namespace, live.metadata.uid)
    except _ALREADY_LEAVING:
        return None
    except TooManyRequests as error:
        raise Refused(Reason.BUDGET, error.message) from None
    return None


def _would_restart(container: wire.ContainerSpec, resources: dict[str, Any]) -> bool:
    changed = resources.get("requests", {}).keys() | resources.get("limits", {}).keys()
    return any(
        policy.resource_name in changed and policy.restart_policy == "RestartContainer"
        for policy in container.resize_policy
    )
