"""The bundle of stores: pods by node, quiet nodes, and what is said of bad objects."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.kube import Kube
from plimsoll.resources import VMPOOLS
from plimsoll.world import wire
from plimsoll.world.occupancy import Occupancy
from plimsoll.world.store import Item, Key, Store
from plimsoll.world.stores import World

NODES = ("", "n1", "n2")


def pod(name: str, node: str, owner: str = "ReplicaSet") -> wire.Pod:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "ownerReferences": [{"kind": owner, "name": "o", "controller": True}],
            },
            "spec": {"nodeName": node},
        },
        wire.Pod,
    )


def stored(version: int, value: wire.Pod) -> Item[wire.Pod]:
    return Item(Key("ns", value.metadata.name), value.metadata.name, version, value)


@given(
    changes=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(NODES), st.booleans()), max_size=40
    )
)
def test_pods_by_node_are_those_of_the_store(changes: list[tuple[str, str, bool]]) -> None:
    store: Store[wire.Pod] = Store()
    occupancy = Occupancy(clock=lambda: 0.0)
    store.on_change(occupancy.see)
    for version, (name, node, gone) in enumerate(changes, start=1):
        item = stored(version, pod(name, node))
        (store.remove if gone else store.put)(item)
        for one in NODES[1:]:
            expected = {p.metadata.name for p in store.values() if p.spec.node_name == one}
            assert {p.metadata.name for p in occupancy.pods_on(one)} == expected


def test_a_node_is_quiet_since_a_pod_last_came_or_went() -> None:
    now = 1.0
    store: Store[wire.Pod] = Store()
    occupancy = Occupancy(clock=lambda: now)
    store.on_change(occupancy.see)
    store.put(stored(1, pod("a", "")))
    assert occupancy.quiet_since() == {}, "a pending pod is on no node"
    store.put(stored(2, pod("a", "n1")))
    now = 2.0
    store.put(stored(3, pod("a", "n1")))
    store.put(stored(4, pod("agent", "n1", owner="DaemonSet")))
    assert occupancy.quiet_since() == {"n1": 1.0}, "a change of state or a DaemonSet's pod is quiet"
    now = 3.0
    store.remove(stored(5, pod("a", "n1")))
    assert occupancy.quiet_since() == {"n1": 3.0}
    occupancy.forget("n1")
    assert occupancy.quiet_since() == {}


def pool(name: str, **spec: Any) -> msgspec.Raw:
    return msgspec.Raw(
        json.dumps(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "VMPool",
                "metadata": {"name": name, "uid": "u", "resourceVersion": "7"},
                "spec": {
                    "hypervisor": "rack",
                    "nodes": {"min": 1, "max": 3},
                    "size": {
                        "cpu": {"min": 2, "max": 4, "step": 2},
                        "memory": {"min": "4Gi", "max": "8Gi", "step": "4Gi"},
                    },
                    **spec,
                },
            }
        ).encode()
    )


def test_a_bad_object_is_named_and_the_others_are_served() -> None:
    world = World(Kube())
    good, bad = world.pools.read(pool("good")), world.pools.read(pool("bad", nodes={"min": 9}))
    assert good is not None
    assert bad is not None
    world.pools.store.replace([good, bad], 8)
    assert [p.metadata.name for p in world.objects().pools] == ["good"]
    ((name, why),) = world.object_problems().items()
    assert name == "VMPool/bad"
    assert ".spec.nodes.max" in why


def test_before_anything_is_read_nothing_is_synced() -> None:
    world = World(Kube())
    assert not world.synced
    assert world.unreadable()[VMPOOLS] == "not read yet"
    assert len(world.unreadable()) == len(world.reflectors)
