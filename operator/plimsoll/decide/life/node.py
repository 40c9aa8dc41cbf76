"""What the node of a VM must carry, and what is missing. Other people's marks are left alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from plimsoll.api import labels as names
from plimsoll.api.common import Taint
from plimsoll.api.quantity import QuantityError, parse_bytes, parse_milli
from plimsoll.api.vmnode import Size, VMNode
from plimsoll.api.vmpool import Template
from plimsoll.world import wire
from plimsoll.world.snapshot import Frozen

KERNEL_SHARE = 0.02
"""Share of a VM's memory that its kernel keeps from kubelet's capacity (page structures)."""
KERNEL_FIXED = 256 * 1024**2
"""Bytes that firmware and kernel image keep besides."""


class NodeWish(Frozen, frozen=True, kw_only=True):
    """What the node must carry."""

    labels: dict[str, str]
    annotations: dict[str, str]
    taints: tuple[wire.Taint, ...]
    provider_id: str


class NodeChange(Frozen, frozen=True, kw_only=True):
    """What is missing on the node and is to be added to it, and what is to be dropped."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: tuple[wire.Taint, ...] = ()
    provider_id: str = ""
    drop_labels: tuple[str, ...] = ()
    drop_annotations: tuple[str, ...] = ()
    drop_taints: tuple[wire.Taint, ...] = ()


def wish_for(record: VMNode, host: str, zone: str) -> NodeWish:
    """What the node of this VMNode carries when the VM is on that host."""
    template = record.spec.template
    labels = {
        **template.labels,
        names.POOL: record.spec.pool,
        names.HYPERVISOR: record.spec.hypervisor,
    }
    labels |= {key: value for key, value in ((names.HOST, host), (names.ZONE, zone)) if value}
    return NodeWish(
        labels=labels,
        annotations=dict(template.annotations),
        taints=_taints(template.taints),
        provider_id=record.status.identity.provider_id
        if record.status and record.status.identity
        else "",
    )


def changes(node: wire.Node, wish: NodeWish) -> NodeChange | None:
    """What to add to the node; None: it carries all that it must."""
    meta = node.metadata
    taken = {(t.key, t.effect) for t in node.spec.taints}
    change = NodeChange(
        labels={k: v for k, v in wish.labels.items() if meta.labels.get(k) != v},
        annotations={k: v for k, v in wish.annotations.items() if meta.annotations.get(k) != v},
        taints=tuple(t for t in wish.taints if (t.key, t.effect) not in taken),
        # The API server lets a providerID be set once and never changed.
        provider_id="" if node.spec.provider_id else wish.provider_id,
        drop_taints=tuple(t for t in node.spec.taints if t.key == names.UNCLAIMED),
    )
    return None if change == NodeChange() else change


def followed(node: wire.Node, old: Template, new: Template) -> NodeChange:
    """What a change of the template changes on the node.

    What the old one put there and the new one does not know goes, unless somebody gave
    it another value since.
    """
    meta = node.metadata
    wanted = {(t.key, t.value, t.effect) for t in new.taints}
    dropped = [t for t in old.taints if (t.key, t.value, t.effect) not in wanted]
    gone = {(t.key, t.value, t.effect) for t in dropped}
    taken = {(t.key, t.effect) for t in node.spec.taints if (t.key, t.value, t.effect) not in gone}
    return NodeChange(
        labels={k: v for k, v in new.labels.items() if meta.labels.get(k) != v},
        annotations={k: v for k, v in new.annotations.items() if meta.annotations.get(k) != v},
        taints=_taints(t for t in new.taints if (t.key, t.effect) not in taken),
        drop_labels=_stale(meta.labels, old.labels, new.labels),
        drop_annotations=_stale(meta.annotations, old.annotations, new.annotations),
        drop_taints=_taints(dropped),
    )


def _stale(
    there: Mapping[str, str], old: Mapping[str, str], new: Mapping[str, str]
) -> tuple[str, ...]:
    return tuple(k for k, v in old.items() if k not in new and there.get(k) == v)


def _taints(some: Iterable[Taint]) -> tuple[wire.Taint, ...]:
    return tuple(wire.Taint(key=t.key, value=t.value, effect=t.effect) for t in some)


def capacity_shows(node: wire.Node, size: Size) -> bool:
    """Whether kubelet reports this size. Of memory it never reports what the kernel keeps."""
    try:
        cpu = parse_milli(node.status.capacity.get("cpu", 0))
        memory = parse_bytes(node.status.capacity.get("memory", 0))
    except QuantityError:
        return False
    kept = int(size.memory * KERNEL_SHARE) + KERNEL_FIXED
    return cpu == size.cpu * 1000 and size.memory - kept <= memory <= size.memory
