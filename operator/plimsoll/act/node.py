"""Writes to the Node object of a VM. Each may be repeated, and fails if the node is another."""

from __future__ import annotations

from collections.abc import Callable

from plimsoll.api import labels as names
from plimsoll.apierrors import Conflict
from plimsoll.decide.life.node import NodeChange
from plimsoll.kube import Json, Kube
from plimsoll.resources import NODES

_Taints = list[Json]


async def adopt(kube: Kube, name: str, uid: str, change: NodeChange) -> None:
    """Adds what the node misses, and takes from it what it is not to have any more."""
    patch: Json = {
        "metadata": {
            "uid": uid,
            "labels": {**dict.fromkeys(change.drop_labels), **change.labels},
            "annotations": {**dict.fromkeys(change.drop_annotations), **change.annotations},
        }
    }
    if change.provider_id:
        patch["spec"] = {"providerID": change.provider_id}
    await kube.merge_patch(NODES, name, patch)
    if change.taints or change.drop_taints:
        added = [
            {"key": t.key, "effect": t.effect, **({"value": t.value} if t.value else {})}
            for t in change.taints
        ]
        new = {(t["key"], t["effect"]) for t in added}
        old = {(t.key, t.value, t.effect) for t in change.drop_taints}
        await _retaint(
            kube,
            name,
            uid,
            lambda taints: (
                [
                    t
                    for t in taints
                    if (t["key"], t["effect"]) not in new
                    and (t["key"], t.get("value", ""), t["effect"]) not in old
                ]
                + added
            ),
        )


async def set_berths(kube: Kube, name: str, uid: str, berths: int) -> None:
    """Advertises so many berths.

    Kubelet works allocatable out of capacity at its next heartbeat; writing both
    lets pods in at once.
    """
    amount = {names.BERTHS: str(berths)}
    patch = {"metadata": {"uid": uid}, "status": {"capacity": amount, "allocatable": amount}}
    await kube.patch_subresource(NODES, name, "status", patch, kind="merge")


async def cordon(kube: Kube, name: str, uid: str, resource_version: str) -> None:
    """Closes the node to new pods, and notes that it was us, unless somebody was faster."""
    meta = {
        "uid": uid,
        "resourceVersion": resource_version,
        "annotations": {names.CORDONED: "true"},
    }
    await kube.merge_patch(NODES, name, {"metadata": meta, "spec": {"unschedulable": True}})


async def uncordon(kube: Kube, name: str, uid: str) -> None:
    """Opens the node again and removes our note."""
    meta = {"uid": uid, "annotations": {names.CORDONED: None}}
    await kube.merge_patch(NODES, name, {"metadata": meta, "spec": {"unschedulable": None}})


async def mark_out_of_service(kube: Kube, name: str, uid: str) -> None:
    """Has Kubernetes let go of the node's pods and volumes at once."""
    ours = {"key": names.OUT_OF_SERVICE, "value": names.FIELD_MANAGER, "effect": "NoExecute"}
    await _retaint(kube, name, uid, lambda taints: [t for t in taints if not _ours(t)] + [ours])


async def clear_out_of_service(kube: Kube, name: str, uid: str) -> None:
    """Removes the taint that we put; one of somebody else's stays."""
    await _retaint(kube, name, uid, lambda taints: [t for t in taints if not _ours(t)])


async def delete(kube: Kube, name: str, uid: str) -> None:
    """Deletes the node with this UID."""
    await kube.delete(NODES, name, uid=uid)


def _ours(taint: Json) -> bool:
    return bool(taint["key"] == names.OUT_OF_SERVICE and taint.get("value") == names.FIELD_MANAGER)


async def _retaint(kube: Kube, name: str, uid: str, new: Callable[[_Taints], _Taints]) -> None:
    """Replaces the list of taints as it is now; what others put there is kept whole."""
    live = await kube.get(NODES, name)
    if live["metadata"]["uid"] != uid:
        raise Conflict(409, "Conflict", f"node {name} is another one by now")
    meta = {"uid": uid, "resourceVersion": live["metadata"]["resourceVersion"]}
    taints = new(live["spec"].get("taints") or [])
    await kube.merge_patch(NODES, name, {"metadata": meta, "spec": {"taints": taints or None}})
