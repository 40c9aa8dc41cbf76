"""The real scheduler and ``Volumes`` say the same of the same claims and volumes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest

import aio
from livecluster import ensure_namespace, install_kinds
from plimsoll.kube import Kube
from plimsoll.world import wire
from plimsoll.world.attachments import attach_limits
from plimsoll.world.objects import Objects
from plimsoll.world.selectors import node_selector_matches
from plimsoll.world.stores import World
from plimsoll.world.volumes import Volumes
from plimsoll_testenv import ControlPlane

Json = dict[str, Any]

NAMESPACE: Final = "test-volumes"
PINNED: Final = "test-volumes"
ZONE: Final = "topology.kubernetes.io/zone"
OLD_ZONE: Final = "failure-domain.beta.kubernetes.io/zone"
SELECTED: Final = "volume.kubernetes.io/selected-node"
NODES: Final[dict[str, dict[str, str]]] = {
    "zone-a": {ZONE: "a"},
    "zone-b": {ZONE: "b"},
    "old-a": {OLD_ZONE: "a"},
    "nowhere": {},
}


def node(name: str, labels: dict[str, str]) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": f"volumes-{name}",
            "labels": {"kubernetes.io/hostname": f"volumes-{name}", PINNED: name, **labels},
        },
        "spec": {"taints": [{"key": PINNED, "effect": "NoSchedule"}]},
        "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"}},
    }


def storage_class(name: str, provisioner: str, mode: str, *zones: str) -> Json:
    found = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": f"test-volumes-{name}"},
        "provisioner": provisioner,
        "volumeBindingMode": mode,
    }
    if zones:
        found["allowedTopologies"] = [
            {"matchLabelExpressions": [{"key": ZONE, "values": [zone]}]} for zone in zones
        ]
    return found


def csi_node(name: str, driver: str, count: int) -> Json:
    drivers = [{"name": driver, "nodeID": name, "allocatable": {"count": count}}]
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSINode",
        "metadata": {"name": f"volumes-{name}"},
        "spec": {"drivers": drivers},
    }


CLUSTER: Final[list[Json]] = [
    *(node(name, labels) for name, labels in NODES.items()),
    storage_class("made", "csi.test-volumes", "WaitForFirstConsumer"),
    storage_class("made-in-b", "csi.test-volumes", "WaitForFirstConsumer", "b"),
    storage_class("at-once", "csi.test-volumes", "Immediate"),
    storage_class("by-hand", "kubernetes.io/no-provisioner", "WaitForFirstConsumer"),
    csi_node("zone-a", "csi.test-volumes.full", 0),
    csi_node("zone-b", "csi.test-volumes.must", 5),
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "CSIDriver",
        "metadata": {"name": "csi.test-volumes.must"},
        "spec": {"preventPodSchedulingIfMissing": True},
    },
]


def in_zone(zone: str) -> Json:
    requirement = {"key": ZONE, "operator": "In", "values": [zone]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}


SCENARIOS: Final[dict[str, Json]] = {
    # ``pv`` is bound to the claim beforehand, ``free`` is there to be taken; claims may be absent.
    "missing": {"claim": None},
    "bound": {"pv": {}},
    "bound-in-a": {"pv": {"nodeAffinity": in_zone("a")}},
    "label-a": {"pv": {}, "labels": {ZONE: "a"}},
    "label-a-or-b": {"pv": {}, "labels": {ZONE: "a__b"}},
    "old-label-a": {"pv": {}, "labels": {OLD_ZONE: "a"}},
    "made": {"claim": {"storageClassName": "test-volumes-made"}},
    "made-in-b": {"claim": {"storageClassName": "test-volumes-made-in-b"}},
    "at-once": {"claim": {"storageClassName": "test-volumes-at-once"}},
    "by-hand-none": {"claim": {"storageClassName": "test-volumes-by-hand"}},
    "by-hand-in-a": {
        "claim": {
            "storageClassName": "test-volumes-by-hand",
            "selector": {"matchLabels": {"scenario": "by-hand-in-a"}},
        },
        "free": {"storageClassName": "test-volumes-by-hand", "nodeAffinity": in_zone("a")},
    },
    "by-hand-too-small": {
        "claim": {
            "storageClassName": "test-volumes-by-hand",
            "selector": {"matchLabels": {"scenario": "by-hand-too-small"}},
            "resources": {"requests": {"storage": "9Gi"}},
        },
        "free": {"storageClassName": "test-volumes-by-hand"},
    },
    "full": {"pv": {"csi": {"driver": "csi.test-volumes.full", "volumeHandle": "NAME"}}},
    "must": {"pv": {"csi": {"driver": "csi.test-volumes.must", "volumeHandle": "NAME"}}},
}


def manifests(scenario: str, pinned: str) -> Iterator[Json]:
    """A pod that can only go onto one node, with a claim and volume of its own."""
    wanted, name = SCENARIOS[scenario], f"{scenario}-{pinned}"
    claim = wanted.get("claim", {"storageClassName": ""})
    volume = wanted.get("pv", wanted.get("free"))
    if volume is not None:
        source = {} if "csi" in volume else {"hostPath": {"path": "/data"}}
        spec = {
            "capacity": {"storage": "2Gi"},
            "accessModes": ["ReadWriteOnce"],
            **source,
            **json.loads(json.dumps(volume).replace("NAME", name)),
        }
        if "pv" in wanted:
            spec["claimRef"] = {"namespace": NAMESPACE, "name": name}
            claim = {**claim, "volumeName": f"test-volumes-{name}"}
        labels = {"scenario": scenario, **wanted.get("labels", {})}
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"test-volumes-{name}", "labels": labels},
            "spec": spec,
        }
    if claim is not None:
        yield {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                **claim,
            },
        }
    yield {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "containers": [{"name": "c", "image": "none"}],
            "nodeSelector": {PINNED: pinned},
            "tolerations": [{"key": PINNED, "operator": "Exists"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}],
        },
    }


def apply(control_plane: ControlPlane, items: list[Json]) -> None:
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    control_plane.run_kubectl("apply", "-f", "-", stdin=document)


def chosen(pod: wire.Pod, objects: Objects) -> bool:
    """Whether the scheduler found the pod's node good: it is bound, or its volume made there."""
    if pod.spec.node_name:
        return True
    return any(
        claim.metadata.name == pod.metadata.name and SELECTED in claim.metadata.annotations
        for claim in objects.claims
        if claim.metadata.namespace == NAMESPACE
    )


def told(pod: wire.Pod) -> str:
    """Why the scheduler left the pod pending; empty: it did not, or has not looked yet."""
    return next(
        (c.message for c in pod.status.conditions if c.type == "PodScheduled" and c.message), ""
    )


def expected(pod: wire.Pod, objects: Objects) -> tuple[bool, str]:
    """Whether a pod can go onto the node that it is pinned to, and what blocks it everywhere."""
    # As the scheduler found the claims: not yet sent to a node.
    claims = tuple(
        msgspec.structs.replace(
            c,
            metadata=msgspec.structs.replace(
                c.metadata,
                annotations={k: v for k, v in c.metadata.annotations.items() if k != SELECTED},
            ),
        )
        for c in objects.claims
    )
    found = Volumes(replace(objects, claims=claims)).rules_of(
        NAMESPACE, pod.metadata.name, pod.spec.volumes
    )
    assert found is not None
    assert found.not_modelled == ()
    pinned = f"volumes-{pod.spec.node_selector[PINNED]}"
    (home,) = (n for n in objects.nodes if n.metadata.name == pinned)
    limits = attach_limits(objects).by_node.get(pinned, {})
    fits = (
        not found.blocked
        and all(node_selector_matches(s, home.metadata.labels, pinned) for s in found.nodes)
        and all(number <= limits.get(name, number) for name, number in found.resources.items())
    )
    return fits, found.blocked


@pytest.fixture
def cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """Nodes and classes, and one pod for each scenario and node."""
    install_kinds(control_plane)

    async def prepare() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)

    aio.run(prepare())
    apply(control_plane, CLUSTER)
    items = [item for s in SCENARIOS for n in NODES for item in manifests(s, n)]
    apply(control_plane, [item for item in items if item["kind"] != "Pod"])
    apply(control_plane, [item for item in items if item["kind"] == "Pod"])
    yield control_plane
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": [*CLUSTER, *items]})
    control_plane.run_kubectl("delete", "--wait=false", "-f", "-", stdin=document)


def test_the_scheduler_agrees_on_every_claim_and_node(cluster: ControlPlane) -> None:
    async def scenario() -> None:
        async with Kube(str(cluster.kubeconfig)) as kube:
            world = World(kube)
            async with aio.background(world.run()):
                async with asyncio.timeout(30):
                    await world.wait_synced()

                def wrong() -> dict[str, str]:
                    objects = world.objects()
                    result = {}
                    for pod in objects.pods:
                        if pod.metadata.namespace != NAMESPACE:
                            continue
                        fits, blocked = expected(pod, objects)
                        why = told(pod)
                        if chosen(pod, objects):
                            if not fits:
                                result[pod.metadata.name] = f"goes there, though {blocked}"
                        elif fits or blocked not in why or not why:
                            result[pod.metadata.name] = f"{why!r}, we say {fits} {blocked!r}"
                    return result

                with suppress(AssertionError):
                    await aio.eventually(lambda: not wrong())
                assert wrong() == {}
                pods = [p for p in world.objects().pods if p.metadata.namespace == NAMESPACE]
                assert len(pods) == len(SCENARIOS) * len(NODES)

    aio.run(scenario())
