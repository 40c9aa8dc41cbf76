"""Moves of VMs. Each writes the wish into a VMNode; its life cycle does the rest."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from plimsoll.act import fields
from plimsoll.act.ledger import Ledger, is_leaving
from plimsoll.act.outcome import Refused
from plimsoll.api.timestamp import rfc3339
from plimsoll.apierrors import AlreadyExists, Invalid, NotFound
from plimsoll.decide.plan import Move, NewVm, Reason, Size
from plimsoll.kube import Json, Kube
from plimsoll.resources import NODES, PODS, VMNODES
from plimsoll.world import wire
from plimsoll.world.pods import FINISHED, held, held_by_annotation, is_daemon


async def launch(kube: Kube, ledger: Ledger, vm: NewVm) -> Json | None:
    """Records the wish for a new VM. That it is recorded already is success.

    Raises:
        Refused: the pool may not have one more, or the name belongs to another pool.
    """
    count = await ledger.of(vm.pool)
    count.take_launch()
    try:
        created = await kube.create(fields.vmnode(vm, count.pool))
    except AlreadyExists:
        existing = await kube.get(VMNODES, vm.name)
        if existing["spec"]["pool"] != vm.pool or is_leaving(existing):
            raise Refused(Reason.IN_FLIGHT, f"the name {vm.name} is still taken") from None
        return existing
    return created


async def load(kube: Kube, move: Move, name: str, berths: int) -> Json:
    """Sets how many berths the VM's node advertises; the life cycle never goes below use."""
    live = await _live(kube, name, move.uid)
    return await set_field(kube, live, "berths", berths)


async def resize(kube: Kube, move: Move, name: str, size: Size) -> Json:
    """Sets the size that the VM is to have.

    Raises:
        Refused: it is leaving, or somebody gave it another size since the decision.
    """
    live = await _live(kube, name, move.uid)
    if is_leaving(live):
        raise Refused(Reason.IN_FLIGHT, f"{name} is leaving")
    return await set_field(kube, live, "size", fields.size_document(size))


async def retire(
    kube: Kube, ledger: Ledger, move: Move, name: str, known_pods: Collection[str]
) -> Json | None:
    """Wishes that the VM be drained and deleted; nothing to do if that is wished already.

    ``known_pods`` are the UIDs of the pods on it that the decision found a place for.

    Raises:
        Refused: a last look found a reason to keep it.
    """
    live = await _live(kube, name, move.uid)
    if is_leaving(live):
        return None
    await _must_not_be_held(kube, name, live)
    await _may_be_emptied(kube, name, known_pods)
    (await ledger.of(live["spec"]["pool"])).take_retire(replaced=move.drifted)
    wish = {"reason": move.reason, "since": rfc3339(time.time())}
    return await set_field(kube, live, "retire", wish)


async def _live(kube: Kube, name: str, uid: str) -> Json:
    try:
        live = await kube.get(VMNODES, name)
    except NotFound:
        raise Refused(Reason.IN_FLIGHT, f"VMNode {name} does not exist any more") from None
    if uid and live["metadata"]["uid"] != uid:
        raise Refused(Reason.IN_FLIGHT, f"{name} is another VMNode than the one decided on")
    return live


async def set_field(kube: Kube, live: Json, field: str, value: Any) -> Json:
    """Sets one field of the spec, if the spec is still what was looked at.

    Not by resourceVersion: the life cycle writes the status at any time.
    """
    meta = live["metadata"]
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
        {"op": "test", "path": "/metadata/generation", "value": meta["generation"]},
        {"op": "add", "path": f"/spec/{field}", "value": value},
    ]
    try:
        return await kube.json_patch(VMNODES, meta["name"], patch)
    except Invalid:
        now = (await _live(kube, meta["name"], meta["uid"]))["metadata"]
        if now["generation"] == meta["generation"]:
            raise  # it is the value that is wrong
        raise Refused(Reason.IN_FLIGHT, f"{meta['name']} was changed meanwhile") from None


async def _must_not_be_held(kube: Kube, name: str, live: Json) -> None:
    objects = [live]
    with suppress(NotFound):  # a VM that has not joined holds nothing
        objects.append(await kube.get(NODES, name))
    for obj in objects:
        why = held_by_annotation(obj["metadata"].get("annotations") or {})
        if why:
            raise Refused(Reason.HELD, f"{name}: {why}")


async def _may_be_emptied(kube: Kube, name: str, known_pods: Collection[str]) -> None:
    pods = await kube.list_all(PODS, field_selector=f"spec.nodeName={name}", type=wire.Pod)
    for pod in pods:
        if pod.status.phase in FINISHED or pod.metadata.deletion_timestamp or is_daemon(pod):
            continue
        key = f"pod {pod.metadata.namespace}/{pod.metadata.name}"
        if pod.metadata.uid not in known_pods:
            raise Refused(Reason.NOT_QUIET, f"{key} came to {name} after the decision")
        why = held(pod)
        if why:
            raise Refused(Reason.HELD, f"{key}: {why}")
