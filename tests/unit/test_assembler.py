"""Assembling again after changes: the same as from scratch, and what is unchanged is the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.api.validate import validate
from plimsoll.world import wire
from plimsoll.world.assemble import Assembler, assemble
from plimsoll.world.objects import Objects, Observations
from plimsoll.world.snapshot import Demand, Resources, Snapshot

NOW = 1_800_000_000.0
MOMENT = "2027-01-15T07:55:00Z"
"""Five minutes before NOW: a refusal of then ends five minutes after it."""

Json = dict[str, Any]


def choice(variant: int, *options: tuple[Any, ...]) -> list[Any]:
    """One of each sequence of options, all combinations numbered from 1."""
    chosen, number = [], variant - 1
    for some in options:
        chosen.append(some[number % len(some)])
        number //= len(some)
    return chosen


def own(kind: str, name: str, spec: Json, **rest: Any) -> Any:
    meta = {"name": name, "uid": f"uid-{name}", **rest.pop("meta", {})}
    head = {"apiVersion": "plimsoll.dev/v1alpha1", "kind": kind, "metadata": meta}
    return validate({**head, "spec": spec, **rest})


def hypervisor(name: str, variant: int) -> Any:
    (state, zone) = choice(variant, ("Up", "Down"), ("", "east"))
    hosts = [
        {"name": "h0", "cpu": 16, "memory": "64Gi", "zone": zone, "state": state},
        {"name": "h1", "cpu": 8, "memory": "32Gi"},
    ]
    return own("Hypervisor", name, {"provider": "simulated", "simulated": {"hosts": hosts}})


def pool(name: str, variant: int) -> Any:
    (most, of) = choice(variant, (5, 6), ("hv-0", "hv-1"))
    size = {"cpu": {"min": 2, "max": 8}, "memory": {"min": "4Gi", "max": "16Gi"}}
    return own("VMPool", name, {"hypervisor": of, "nodes": {"max": most}, "size": size})


def vmnode(name: str, variant: int) -> Any:
    (host, cpu, refused) = choice(variant, ("h0", "h1"), (4, 8), ("", "NoCapacity", "Invalid"))
    spec = {
        "pool": "pool-0",
        "hypervisor": "hv-0",
        "host": host,
        "size": {"cpu": cpu, "memory": "8Gi"},
    }
    condition = {
        "type": "Resized",
        "status": "False",
        "reason": refused,
        "message": "no room",
        "lastTransitionTime": MOMENT,
    }
    status = {"phase": "Ready", "conditions": [condition] if refused else []}
    return own("VMNode", name, spec, status=status)


def workload(name: str, variant: int) -> Any:
    (target, container) = choice(variant, ("app-0", "app-1"), ("main", "side"))
    spec = {
        "targetRef": {"kind": "Deployment", "name": target},
        "scaleOut": {"max": 9},
        "scaleUp": {
            "container": container,
            "cpu": {"min": "100m", "max": "2"},
            "memory": {"min": "64Mi", "max": "1Gi"},
        },
    }
    return own("ContainerWorkload", name, spec, meta={"namespace": "default"})


def node(name: str, variant: int) -> wire.Node:
    (label, ready, volumes) = choice(variant, ("x", "y"), ("True", "False"), ("2", "3"))
    document = {
        "metadata": {"name": name, "labels": {"l": label, "kubernetes.io/hostname": name}},
        "status": {
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110", "v": volumes},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }
    return msgspec.convert(document, wire.Node)


def containers(cpu: str) -> list[Json]:
    return [
        {"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "64Mi"}}},
        {"name": "side", "resources": {"requests": {"cpu": "50m"}}},
    ]


def controller(kind: str, made_by: str = "") -> Callable[[str, int], wire.Controller]:
    def make(name: str, variant: int) -> wire.Controller:
        (owner, cpu, replicas) = choice(variant, ("app-0", "app-1"), ("100m", "200m"), (2, 3))
        owners = [{"kind": made_by, "name": owner, "controller": True}] if made_by else []
        document = {
            "kind": kind,
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
            "spec": {
                "replicas": replicas,
                "template": {
                    "metadata": {"labels": {"app": owner}},
                    "spec": {"containers": containers(cpu)},
                },
            },
        }
        return msgspec.convert(document, wire.Controller)

    return make


def pod(name: str, variant: int) -> wire.Pod:
    (where, owner, volume, extra, created) = choice(
        variant,
        ("", "vm-0", "vm-1", "foreign"),
        (("ReplicaSet", "app-0-h"), ("ReplicaSet", "app-1-h"), ("StatefulSet", "db"), None),
        ({}, {"persistentVolumeClaim": {"claimName": "claim-0"}}, {"emptyDir": {}}),
        ("", "kata", "high", "Succeeded", "gated", "ready", "daemon"),
        (MOMENT, "2027-01-15T07:50:00Z"),
    )
    spec: Json = {"nodeName": where, "containers": containers("100m")}
    labels = {"app": "a", "pod-template-hash": "h"}
    if volume:
        spec["volumes"] = [{"name": "data", **volume}]
    if extra == "kata":
        spec["runtimeClassName"] = "class-0"
    if extra == "high":
        spec["priorityClassName"] = "class-0"
    if extra == "gated":
        spec["schedulingGates"] = [{"name": "wait"}]
    if extra == "daemon":
        owner = ("DaemonSet", "d")
    owners = [{"kind": owner[0], "name": owner[1], "controller": True}] if owner else []
    status: Json = {"phase": "Succeeded" if extra == "Succeeded" else "Running"}
    if extra == "ready":
        status["conditions"] = [{"type": "Ready", "status": "True"}]
    meta = {
        "name": name,
        "namespace": ("default", "other")[len(name) % 2],
        "labels": labels,
        "creationTimestamp": created,
        "ownerReferences": owners,
    }
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, wire.Pod)


def plain(struct: type[Any], *variants: Json) -> Callable[[str, int], Any]:
    def make(name: str, variant: int) -> Any:
        fields = dict(variants[(variant - 1) % len(variants)])
        meta = {"name": name, "namespace": fields.pop("namespace", "")}
        return msgspec.convert({"metadata": {**meta, **fields.pop("meta", {})}, **fields}, struct)

    return make


ANY_NODE = {"required": {"nodeSelectorTerms": [{"matchExpressions": []}]}}
ON_FOREIGN = {
    "required": {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": "l", "operator": "In", "values": ["x"]}]}
        ]
    }
}
LOCAL = {
    "required": {
        "nodeSelectorTerms": [
            {
                "matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": ["foreign"]}
                ]
            }
        ]
    }
}
CLAIM = {"namespace": "default", "spec": {"storageClassName": "class-0", "volumeName": "volume-0"}}

KINDS: dict[str, tuple[tuple[str, ...], Callable[[str, int], Any], int]] = {
    # By field of Objects: names, how one is made, number of variants.
    "hypervisors": (("hv-0", "hv-1"), hypervisor, 4),
    "pools": (("pool-0", "pool-1"), pool, 4),
    "vmnodes": (("vm-0", "vm-1"), vmnode, 12),
    "workloads": (("w-0", "w-1"), workload, 4),
    "nodes": (("vm-0", "vm-1", "foreign"), node, 8),
    "pods": (("p", "pp", "q", "qq", "r"), pod, 4 * 4 * 3 * 7 * 2),
    "deployments": (("app-0", "app-1"), controller("Deployment"), 8),
    "statefulsets": (("db",), controller("StatefulSet"), 8),
    "replicasets": (("app-0-h", "app-1-h"), controller("ReplicaSet", "Deployment"), 8),
    "daemonsets": (("d",), controller("DaemonSet"), 8),
    "budgets": (
        ("b",),
        plain(
            wire.PodDisruptionBudget,
            {"namespace": "default", "status": {"disruptionsAllowed": 1}},
            {"namespace": "default", "status": {"disruptionsAllowed": 2}},
        ),
        2,
    ),
    "runtime_classes": (
        ("class-0",),
        plain(wire.RuntimeClass, {"overhead": {"podFixed": {"cpu": "10m"}}}, {}),
        2,
    ),
    "priority_classes": (
        ("class-0",),
        plain(wire.PriorityClass, {"value": 5}, {"value": 6, "globalDefault": True}),
        2,
    ),
    "namespaces": (
        ("default", "empty"),
        plain(wire.Namespace, {}, {"meta": {"labels": {"a": "b"}}}),
        2,
    ),
    "claims": (
        ("claim-0",),
        plain(
            wire.PersistentVolumeClaim,
            CLAIM,
            {**CLAIM, "spec": {"storageClassName": "class-0"}, "status": {"phase": "Pending"}},
            {**CLAIM, "spec": {**CLAIM["spec"], "accessModes": ["ReadWriteOncePod"]}},
        ),
        3,
    ),
    "volumes": (
        ("volume-0", "volume-1"),
        plain(
            wire.PersistentVolume,
            {"spec": {"nodeAffinity": ON_FOREIGN}},
            {"spec": {"csi": {"driver": "disk", "volumeHandle": "h"}}},
            {
                "spec": {
                    "local": {"path": "/d"},
                    "nodeAffinity": LOCAL,
                    "storageClassName": "class-0",
                    "capacity": {"storage": "1Gi"},
                },
                "status": {"phase": "Available"},
            },
        ),
        3,
    ),
    "storage_classes": (
        ("class-0",),
        plain(
            wire.StorageClass,
            {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"},
            {
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
            },
        ),
        2,
    ),
    "csi_nodes": (
        ("vm-0", "foreign"),
        plain(
            wire.CSINode,
            {"spec": {"drivers": [{"name": "disk", "allocatable": {"count": 2}}]}},
            {"spec": {"drivers": [{"name": "disk", "allocatable": {"count": 3}}]}},
        ),
        2,
    ),
    "csi_drivers": (
        ("disk",),
        plain(wire.CSIDriver, {}, {"spec": {"preventPodSchedulingIfMissing": True}}),
        2,
    ),
}

Change = tuple[str, int, int]
"""Field of Objects, number of a name, number of a variant; variant 0 removes the object."""


@st.composite
def change(draw: st.DrawFn) -> Change:
    kind = draw(st.sampled_from(["pods", *KINDS]))
    names, _, variants = KINDS[kind]
    return kind, draw(st.integers(0, len(names) - 1)), draw(st.integers(0, variants))


observations = st.builds(
    Observations,
    demands=st.dictionaries(
        st.just("default/w-0"),
        st.builds(
            Demand,
            cpu=st.sampled_from([100, 200]),
            memory=st.just(1),
            at=st.sampled_from([NOW - 60, NOW]),
            peak_cpu=st.just(200),
            peak_memory=st.just(1),
        ),
    ),
    node_usage=st.dictionaries(
        st.sampled_from(["vm-0", "foreign"]),
        st.builds(Resources, cpu=st.sampled_from([1, 2])),
    ),
    quiet_since=st.dictionaries(st.sampled_from(["vm-0", "vm-1"]), st.sampled_from([5.0, 6.0])),
    launch_blocked_until=st.dictionaries(st.sampled_from(["pool-0", "hv-0/h0"]), st.just(NOW + 60)),
    loop_detected=st.sampled_from([frozenset(), frozenset({"pool-0"})]),
    problems=st.dictionaries(
        st.sampled_from(["VMPool/pool-0", "ContainerWorkload/default/w-0"]), st.just("broken")
    ),
)
turn = st.tuples(st.lists(change(), max_size=5), observations, st.floats(0, 400), st.booleans())


def same_where_equal(before: Snapshot, after: Snapshot) -> None:
    for name in ("pods", "vms", "pools", "workloads", "hypervisors", "budgets"):
        known = {_key(part): part for part in getattr(before, name)}
        for part in getattr(after, name):
            old = known.get(_key(part))
            assert old is part or old != part, f"{name}: {_key(part)} was made anew"


def _key(part: Any) -> tuple[str, str]:
    return getattr(part, "namespace", ""), part.name


@settings(max_examples=100, deadline=None)
@given(
    st.lists(change(), min_size=10, max_size=60),
    st.lists(turn, min_size=1, max_size=6),
)
def test_after_any_changes_the_snapshot_is_that_from_scratch(
    first: list[Change], turns: list[tuple[list[Change], Observations, float, bool]]
) -> None:
    world: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    assembler, now = Assembler(), NOW
    before = Snapshot()
    for changes, observed, passed, turned in [(first, Observations(), 0.0, False), *turns]:
        now += passed
        for kind, name_number, variant in changes:
            names, make, _ = KINDS[kind]
            name = names[name_number]
            if variant:
                world[kind][name] = make(name, variant)
            else:
                world[kind].pop(name, None)
        some = {kind: tuple(objects.values()) for kind, objects in world.items()}
        if turned:
            some = {kind: objects[::-1] for kind, objects in some.items()}
        found = assembler.assemble(Objects(**some), observed, now)
        assert found == assemble(Objects(**some), observed, now)
        same_where_equal(before, found)
        shapes: dict[str, Any] = {}
        for found_pod in found.pods:
            assert shapes.setdefault(found_pod.shape.key, found_pod.shape) is found_pod.shape
        before = found


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_few_changes_among_many_pods_tell_how_long_vms_that_nobody_watched_are_quiet(
    chance: random.Random,
) -> None:
    """So many pods that a change does not sort all of them anew."""
    nodes = tuple(node(name, 1) for name in ("vm-0", "vm-1", "foreign"))
    number = 0

    def another() -> wire.Pod:
        nonlocal number
        number += 1
        document = {
            "metadata": {
                "name": f"p-{chance.randrange(100):02}-{number}",
                "namespace": "default",
                "creationTimestamp": f"2027-01-15T07:{chance.randrange(6):02}:00Z",
            },
            "spec": {"nodeName": chance.choice(["", "vm-0", "vm-1", "foreign", "gone"])},
        }
        return msgspec.convert(document, wire.Pod)

    pods = [another() for _ in range(60)]
    assembler = Assembler()
    for _ in range(12):
        objects = Objects(nodes=nodes, pods=tuple(pods))
        observed = Observations(quiet_since={"vm-0": 5.0} if chance.random() < 0.2 else {})
        found = assembler.assemble(objects, observed, NOW)
        assert found == assemble(objects, observed, NOW)
        at = chance.randrange(len(pods))
        match chance.choice(["come", "go", "change", "many"]):
            case "come":
                pods.append(another())
            case "go":
                del pods[at]
            case "change":
                spec = msgspec.structs.replace(pods[at].spec, node_name=chance.choice(["vm-0", ""]))
                pods[at] = msgspec.structs.replace(pods[at], spec=spec)
            case "many":
                pods = [*pods[20:], *(another() for _ in range(20))]
