"""Volumes: where a pod can reach them, how many attach, and what keeps it off every node.

The examples are those of kube-scheduler's plugins VolumeBinding, VolumeZone, NodeVolumeLimits and
VolumeRestrictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from plimsoll.api.labels import HOSTNAME, ZONE
from plimsoll.world import wire
from plimsoll.world.attachments import attach_limits
from plimsoll.world.objects import Objects
from plimsoll.world.selectors import node_selector_matches
from plimsoll.world.shapes import Shapes
from plimsoll.world.volumes import Rules, Volumes

DRIVER = "csi.example"
ATTACHED = f"attachable-volumes-csi-{DRIVER}"
BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
Json = dict[str, Any]


def claim(name: str = "data", phase: str = "Pending", **fields: Any) -> wire.PersistentVolumeClaim:
    """A claim of class ``fast`` for 1Gi, as a cluster shows it."""
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", **fields.pop("meta", {})}
    spec = {
        "storageClassName": "fast",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        **fields,
    }
    document = {"metadata": meta, "spec": spec, "status": {"phase": phase}}
    return msgspec.convert(document, wire.PersistentVolumeClaim)


def bound(name: str = "data", to: str = "pv", **fields: Any) -> wire.PersistentVolumeClaim:
    meta = {"annotations": BOUND, **fields.pop("meta", {})}
    return claim(name, "Bound", volumeName=to, meta=meta, **fields)


def volume(name: str = "pv", meta: Json | None = None, **fields: Any) -> wire.PersistentVolume:
    """A free volume of class ``fast`` with 10Gi."""
    spec = {
        "storageClassName": "fast",
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "10Gi"},
        **fields,
    }
    document = {
        "metadata": {"name": name, **(meta or {})},
        "spec": spec,
        "status": {"phase": "Available"},
    }
    return msgspec.convert(document, wire.PersistentVolume)


def storage_class(
    mode: str = "WaitForFirstConsumer", provisioner: str = DRIVER, **fields: Any
) -> wire.StorageClass:
    meta = {"name": "fast", **fields.pop("meta", {})}
    document = {
        "metadata": meta,
        "provisioner": provisioner,
        "volumeBindingMode": mode,
        **fields,
    }
    return msgspec.convert(document, wire.StorageClass)


def static() -> wire.StorageClass:
    """A class whose volumes are made by hand."""
    return storage_class(provisioner="kubernetes.io/no-provisioner")


def at(key: str, *values: str) -> Json:
    """Node affinity of a volume."""
    requirement = {"key": key, "operator": "In", "values": list(values)}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}}


def topologies(*zones: str) -> list[Json]:
    return [{"matchLabelExpressions": [{"key": ZONE, "values": list(zones)}]}]


def uses(*claims: str) -> list[wire.Volume]:
    return [
        wire.Volume(
            name=f"v-{name}",
            persistent_volume_claim=wire.PersistentVolumeClaimVolumeSource(claim_name=name),
        )
        for name in claims
    ]


def rules(*claims: str, pod: str = "p", **objects: Any) -> Rules:
    found = Volumes(Objects(**objects)).rules_of("default", pod, uses(*(claims or ("data",))))
    assert found is not None
    return found


def reached(found: Rules, labels: Mapping[str, str], name: str = "n") -> bool:
    """Whether a node with such labels reaches all the volumes."""
    return all(node_selector_matches(selector, labels, name) for selector in found.nodes)


def zones(found: Rules, *among: str) -> str:
    """Those of some zones from which all the volumes are reached."""
    return "".join(zone for zone in among or "abc" if reached(found, {ZONE: zone}))


def test_a_pod_without_claims_has_no_rules() -> None:
    volumes = [wire.Volume(name="cache", empty_dir={}), wire.Volume(name="token")]
    assert Volumes(Objects()).rules_of("default", "p", volumes) is None
    assert Volumes(Objects()).rules_of_template("default", volumes) is None


# Claims that are bound


def test_a_bound_volume_is_reached_where_its_node_affinity_says() -> None:
    found = rules(claims=(bound(),), volumes=(volume(nodeAffinity=at(ZONE, "a", "b")),))
    assert zones(found) == "ab"
    assert found.blocked == ""


def test_a_bound_volume_without_node_affinity_is_reached_from_everywhere() -> None:
    assert rules(claims=(bound(),), volumes=(volume(),)) == Rules()


def test_all_volumes_of_a_pod_must_be_reached() -> None:
    found = rules(
        "one",
        "two",
        claims=(bound("one", "pv-1"), bound("two", "pv-2")),
        volumes=(
            volume("pv-1", nodeAffinity=at(ZONE, "a", "b")),
            volume("pv-2", nodeAffinity=at(ZONE, "b", "c")),
        ),
    )
    assert zones(found) == "b"


OLD_ZONE = "failure-domain.beta.kubernetes.io/zone"


@pytest.mark.parametrize(
    ("labels", "node", "met"),
    [
        ({ZONE: "a"}, {ZONE: "a"}, True),
        ({ZONE: "a"}, {ZONE: "b"}, False),
        ({ZONE: "a__b"}, {ZONE: "b"}, True),
        # A cluster in one zone whose nodes are not labelled.
        ({ZONE: "a"}, {}, True),
        ({ZONE: "a"}, {"topology.kubernetes.io/region": "r"}, False),
        ({OLD_ZONE: "a"}, {OLD_ZONE: "a"}, True),
        ({OLD_ZONE: "a"}, {ZONE: "a"}, True),
        ({OLD_ZONE: "a"}, {OLD_ZONE: "b", ZONE: "a"}, False),
        ({ZONE: "a"}, {OLD_ZONE: "a"}, False),
        # No list of zones: the label is ignored.
        ({ZONE: "a__"}, {ZONE: "b"}, True),
        ({ZONE: "a", "topology.kubernetes.io/region": "r"}, {ZONE: "a"}, False),
    ],
)
def test_zone_labels_of_a_volume(labels: dict[str, str], node: dict[str, str], met: bool) -> None:
    found = rules(claims=(bound(),), volumes=(volume(meta={"labels": labels}),))
    assert reached(found, node) is met


def test_a_claim_written_by_hand_with_its_volume_counts_as_bound() -> None:
    by_hand = claim(phase="", volumeName="pv")
    found = rules(claims=(by_hand,), volumes=(volume(nodeAffinity=at(ZONE, "a")),))
    assert zones(found) == "a"


# Claims that keep their pod off every node


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ({}, 'persistentvolumeclaim "data" not found'),
        (
            {"claims": (bound(),)},
            "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
        ),
        (
            {"claims": (claim(phase="Lost", volumeName="pv"),)},
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"',
        ),
        (
            {"claims": (claim(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),)},
            'persistentvolumeclaim "data" is being deleted',
        ),
        (
            {"claims": (claim(),), "storage_classes": (storage_class("Immediate"),)},
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        ({"claims": (claim(),)}, "pod has unbound immediate PersistentVolumeClaims"),
        (
            {"claims": (claim(storageClassName=""),), "storage_classes": (storage_class(),)},
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            # Reserved for a volume, but not bound to it yet.
            {"claims": (claim(volumeName="pv"),), "storage_classes": (storage_class(),)},
            "pod has unbound immediate PersistentVolumeClaims",
        ),
        (
            {"claims": (claim(),), "storage_classes": (static(),)},
            "node(s) didn't find available persistent volumes to bind",
        ),
    ],
)
def test_what_keeps_a_pod_off_every_node(objects: dict[str, Any], why: str) -> None:
    assert rules(**objects).blocked == why


@pytest.mark.parametrize("kind", ["PersistentVolumeClaim", "PersistentVolume", "StorageClass"])
def test_what_files_leave_out_altogether_is_not_modelled(kind: str) -> None:
    claims = {
        "PersistentVolumeClaim": (),
        "PersistentVolume": (bound(),),
        "StorageClass": (claim(),),
    }
    (why,) = rules(claims=claims[kind], absent=frozenset({kind})).not_modelled
    assert f"the files hold no {kind}" in why


@pytest.mark.parametrize(
    "objects",
    [
        {
            "claims": (bound(),),
            "volumes": (volume(awsElasticBlockStore={"volumeID": "v"}),),
        },
        {
            "claims": (claim(),),
            "storage_classes": (storage_class(provisioner="kubernetes.io/cinder"),),
        },
    ],
)
def test_drivers_once_built_in_are_not_modelled(objects: dict[str, Any]) -> None:
    (why,) = rules(**objects).not_modelled
    assert "once built into Kubernetes" in why


# Claims that wait for their first consumer


def test_a_volume_is_provisioned_where_the_class_allows_it() -> None:
    allowed = storage_class(allowedTopologies=topologies("a", "c"))
    assert zones(rules(claims=(claim(),), storage_classes=(allowed,))) == "ac"
    anywhere = rules(claims=(claim(),), storage_classes=(storage_class(),))
    assert (anywhere.nodes, anywhere.blocked) == ((), "")


def test_of_several_allowed_topologies_one_must_match_and_an_empty_one_never_does() -> None:
    two = storage_class(allowedTopologies=[*topologies("a"), *topologies("b")])
    assert zones(rules(claims=(claim(),), storage_classes=(two,))) == "ab"
    none = storage_class(allowedTopologies=[{"matchLabelExpressions": []}])
    assert rules(claims=(claim(),), storage_classes=(none,)).blocked


def test_a_volume_made_for_a_chosen_node_is_waited_for_there() -> None:
    chosen = claim(meta={"annotations": {"volume.kubernetes.io/selected-node": "n1"}})
    allowed = storage_class(allowedTopologies=topologies("a"))
    found = rules(claims=(chosen,), storage_classes=(allowed,))
    assert reached(found, {ZONE: "a"}, "n1")
    assert not reached(found, {ZONE: "a"}, "n2")
    assert not reached(found, {ZONE: "b"}, "n1")


def test_volumes_that_are_free_are_taken_besides_those_that_can_be_made() -> None:
    found = rules(
        claims=(claim(),),
        storage_classes=(storage_class(allowedTopologies=topologies("a")),),
        volumes=(volume(nodeAffinity=at(ZONE, "b")),),
    )
    assert zones(found) == "ab"


FREE: dict[str, tuple[wire.PersistentVolumeClaim, wire.PersistentVolume, bool]] = {
    "it fits": (claim(), volume(), True),
    "too small": (claim(), volume(capacity={"storage": "1Mi"}), False),
    "of another class": (claim(), volume(storageClassName="slow"), False),
    "of another class by the old annotation": (
        claim(),
        volume(meta={"annotations": {"volume.beta.kubernetes.io/storage-class": "slow"}}),
        False,
    ),
    "another access mode": (claim(accessModes=["ReadWriteMany"]), volume(), False),
    "a block device": (claim(), volume(volumeMode="Block"), False),
    "being deleted": (
        claim(),
        volume(meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
        False,
    ),
    "reserved for another": (
        claim(),
        volume(claimRef={"namespace": "default", "name": "other"}),
        False,
    ),
    "reserved for a claim of this name before it": (
        claim(),
        volume(claimRef={"namespace": "default", "name": "data", "uid": "older"}),
        False,
    ),
    "reserved for it": (
        claim(selector={"matchLabels": {"disk": "ssd"}}),
        volume(claimRef={"namespace": "default", "name": "data"}),
        True,
    ),
    "selected": (
        claim(selector={"matchLabels": {"disk": "ssd"}}),
        volume(meta={"labels": {"disk": "ssd"}}),
        True,
    ),
    "not selected": (claim(selector={"matchLabels": {"disk": "ssd"}}), volume(), False),
    "other attributes": (claim(), volume(volumeAttributesClassName="gold"), False),
}


@pytest.mark.parametrize(("wanted", "free", "fits"), FREE.values(), ids=FREE.keys())
def test_which_free_volume_a_claim_may_take(
    wanted: wire.PersistentVolumeClaim, free: wire.PersistentVolume, fits: bool
) -> None:
    found = rules(claims=(wanted,), storage_classes=(static(),), volumes=(free,))
    assert (found.blocked == "") is fits


def test_a_volume_that_was_used_before_is_not_free() -> None:
    released = msgspec.structs.replace(
        volume(), status=wire.PersistentVolumeStatus(phase="Released")
    )
    assert rules(claims=(claim(),), storage_classes=(static(),), volumes=(released,)).blocked


def test_a_volume_reserved_for_the_claim_is_its_only_one() -> None:
    mine = {"namespace": "default", "name": "data"}
    found = rules(
        claims=(claim(),),
        storage_classes=(static(),),
        volumes=(
            volume("pv-1", nodeAffinity=at(ZONE, "a")),
            volume("pv-2", nodeAffinity=at(ZONE, "b"), claimRef=mine),
        ),
    )
    assert zones(found) == "b"


def capacity(zone: str, **fields: Any) -> wire.CSIStorageCapacity:
    document = {
        "metadata": {"name": zone},
        "storageClassName": "fast",
        "nodeTopology": {"matchLabels": {ZONE: zone}},
        **fields,
    }
    return msgspec.convert(document, wire.CSIStorageCapacity)


def test_a_driver_that_tracks_capacity_makes_volumes_only_where_there_is_room() -> None:
    driver = msgspec.convert(
        {"metadata": {"name": DRIVER}, "spec": {"storageCapacity": True}}, wire.CSIDriver
    )
    objects: dict[str, Any] = {
        "claims": (claim(),),
        "storage_classes": (storage_class(allowedTopologies=topologies("a", "b", "c")),),
        "storage_capacities": (
            capacity("a", capacity="2Gi"),
            capacity("b", capacity="2Gi", maximumVolumeSize="512Mi"),
            capacity("c", capacity="512Mi", maximumVolumeSize="1Gi"),
            capacity("d", capacity="2Gi"),
        ),
    }
    assert zones(rules(**objects, csi_drivers=(driver,)), *"abcd") == "ac"
    assert zones(rules(**objects), *"abcd") == "abc"
    assert rules(
        claims=(claim(),), storage_classes=(storage_class(),), csi_drivers=(driver,)
    ).blocked


# Local volumes


def local(name: str, host: str, size: str = "10Gi") -> wire.PersistentVolume:
    return volume(name, nodeAffinity=at(HOSTNAME, host), capacity={"storage": size})


def hosts(*names: str) -> tuple[wire.Node, ...]:
    return tuple(
        wire.Node(metadata=wire.Meta(name=name, labels={HOSTNAME: name})) for name in names
    )


def test_free_local_volumes_are_counted_on_their_node() -> None:
    large = claim("large", resources={"requests": {"storage": "20Gi"}})
    objects = Objects(
        claims=(claim("small"), large, claim("twin")),
        storage_classes=(static(),),
        nodes=hosts("a", "b", "c"),
        volumes=(
            local("1", "a"),
            local("2", "a", "50Gi"),
            local("3", "b"),
            volume("any", capacity={"storage": "1Ti"}),
        ),
    )
    # A volume that every node reaches cannot be counted on any.
    assert Volumes(objects).free_on == {}
    objects = replace(objects, volumes=objects.volumes[:-1])
    volumes = Volumes(objects)
    small, big, both = (
        volumes.rules_of("default", "p", uses(*names))
        for names in (["small"], ["large"], ["small", "twin"])
    )
    assert small is not None
    assert big is not None
    assert both is not None
    (any_volume,) = small.resources
    (large_volume,) = set(big.resources) - {any_volume}
    assert big.resources == {any_volume: 1, large_volume: 1}
    assert both.resources == {any_volume: 2}
    assert volumes.free_on == {
        "a": {any_volume: 2, large_volume: 1},
        "b": {any_volume: 1},
    }
    assert attach_limits(objects, volumes.free_on).by_node == volumes.free_on


def test_of_pods_yet_to_be_made_no_local_volume_is_reserved() -> None:
    objects = Objects(storage_classes=(static(),), nodes=hosts("a"), volumes=(local("1", "a"),))
    found = Volumes(objects).rules_of_template("default", [], [claim()])
    assert found is not None
    assert found.resources == {}
    assert reached(found, {HOSTNAME: "a"})
    assert not reached(found, {HOSTNAME: "b"})


# Volumes that several nodes reach, and too few of them


def wants(name: str, *claims: str, **spec: Any) -> wire.Pod:
    """A pending pod that uses claims."""
    document = {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
    pod = msgspec.convert(document, wire.Pod)
    return msgspec.structs.replace(
        pod, spec=msgspec.structs.replace(pod.spec, volumes=uses(*claims))
    )


def contested(pods: tuple[wire.Pod, ...], *volumes: wire.PersistentVolume, **objects: Any) -> str:
    """Zones in which each pod finds its volumes, pod after pod; ``-``: none is left for it."""
    names = sorted({v.name.removeprefix("v-") for p in pods for v in p.spec.volumes})
    found = Volumes(
        Objects(
            claims=tuple(claim(name) for name in names),
            storage_classes=(static(),),
            volumes=volumes,
            pods=pods,
            **objects,
        )
    )
    result = []
    for pod in pods:
        of_pod = found.rules_of("default", pod.metadata.name, pod.spec.volumes)
        assert of_pod is not None
        result.append("-" if of_pod.blocked else zones(of_pod))
    return " ".join(result)


def shared(name: str, zone: str, size: str = "10Gi") -> wire.PersistentVolume:
    return volume(name, nodeAffinity=at(ZONE, zone), capacity={"storage": size})


def test_while_there_are_enough_volumes_everywhere_none_is_reserved() -> None:
    two = wants("p", "x"), wants("q", "y")
    found = contested(two, *(shared(f"{z}{n}", z) for z in "ab" for n in (1, 2)))
    assert found == "ab ab"
    other = shared("other", "c", "1Mi")
    assert contested(two[:1], shared("1", "a"), shared("2", "b"), other) == "ab"


def test_where_claims_compete_each_has_a_volume_of_its_own() -> None:
    three = wants("p", "x"), wants("q", "y"), wants("r", "z")
    assert contested(three, shared("1", "a"), shared("2", "a"), shared("3", "b")) == "a a b"
    assert contested(three, shared("1", "b"), shared("2", "a")) == "b a -"
    # The smallest goes first.
    assert contested(three[:2], shared("1", "a", "90Gi"), shared("2", "b")) == "b a"


def test_the_more_important_pod_gets_the_last_volume() -> None:
    pods = wants("p", "x"), wants("q", "y", priority=5)
    assert contested(pods, shared("1", "a")) == "- a"


def test_volumes_of_one_pod_are_taken_in_one_place() -> None:
    pods = wants("p", "x", "y"), wants("q", "z")
    volumes = shared("1", "a"), shared("2", "b"), shared("3", "b")
    assert contested(pods, *volumes) == "b a"
    assert contested(pods[:1], *volumes[:2]) == "-"
    anywhere = volume("2", capacity={"storage": "20Gi"})
    assert contested(pods[:1], volumes[0], anywhere) == "a"


def test_a_volume_is_reserved_where_the_pod_may_go() -> None:
    nodes = tuple(wire.Node(metadata=wire.Meta(name=z, labels={ZONE: z})) for z in "ab")
    pods = wants("p", "x", nodeSelector={ZONE: "b"}), wants("q", "y")
    volumes = shared("1", "a"), shared("2", "b")
    assert contested(pods, *volumes, nodes=nodes) == "b a"


# One pod at a time


def user(name: str, node: str = "", **spec: Any) -> wire.Pod:
    document = {
        "metadata": {"name": name, "namespace": "default", **spec.pop("meta", {})},
        "spec": {
            "nodeName": node,
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
            **spec,
        },
        "status": {"phase": spec.pop("phase", "Pending")},
    }
    return msgspec.convert(document, wire.Pod)


IN_USE = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod"


@pytest.mark.parametrize(
    ("others", "free"),
    [
        ((), True),
        ((user("other", "n"),), False),
        ((user("p", "n"),), True),
        ((user("other", "n", phase="Succeeded"),), True),
        # Among pending pods one will be the first.
        ((user("other"), user("p")), False),
        ((user("other", priority=1), user("p", priority=2)), True),
        ((user("other", schedulingGates=[{"name": "g"}]), user("p")), True),
        (
            (
                user("other", meta={"creationTimestamp": "2026-01-02T00:00:00Z"}),
                user("p", meta={"creationTimestamp": "2026-01-01T00:00:00Z"}),
            ),
            True,
        ),
        ((user("other", priority=1), user("p", "n")), True),
    ],
)
def test_a_claim_for_one_pod_at_a_time(others: tuple[wire.Pod, ...], free: bool) -> None:
    alone = bound(accessModes=["ReadWriteOncePod"])
    found = rules(claims=(alone,), volumes=(volume(),), pods=others)
    assert (found.blocked == "") is free
    assert free or found.blocked.startswith(IN_USE)


def test_a_claim_that_several_pods_may_use_is_never_in_use() -> None:
    found = rules(claims=(bound(),), volumes=(volume(),), pods=(user("other", "n"),))
    assert found.blocked == ""


# Generic ephemeral volumes


def ephemeral(**spec: Any) -> wire.Volume:
    template = {"volumeClaimTemplate": {"spec": {"storageClassName": "fast", **spec}}}
    return msgspec.convert({"name": "tmp", "ephemeral": template}, wire.Volume)


def made_for(pod: str) -> wire.PersistentVolumeClaim:
    owner = {"kind": "Pod", "name": pod, "controller": True}
    return bound("p-tmp", meta={"ownerReferences": [owner]})


@pytest.mark.parametrize(
    ("claims", "blocked"),
    [
        (
            (),
            'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-tmp"',
        ),
        (
            (made_for("another"),),
            "PVC default/p-tmp was not created for pod default/p (pod is not owner)",
        ),
        ((made_for("p"),), ""),
    ],
)
def test_the_claim_of_an_ephemeral_volume(
    claims: tuple[wire.PersistentVolumeClaim, ...], blocked: str
) -> None:
    objects = Objects(claims=claims, volumes=(volume(),))
    found = Volumes(objects).rules_of("default", "p", [ephemeral()])
    assert found is not None
    assert found.blocked == blocked


# Pods yet to be made


@pytest.mark.parametrize("mode", ["Immediate", "WaitForFirstConsumer"])
def test_claims_yet_to_be_made_do_not_keep_their_pod_off(mode: str) -> None:
    allowed = storage_class(mode, allowedTopologies=topologies("a"))
    volumes = Volumes(Objects(storage_classes=(allowed,)))
    for found in (
        volumes.rules_of_template("default", [], [claim()]),
        volumes.rules_of_template("default", [ephemeral()]),
    ):
        assert found is not None
        assert (zones(found), found.blocked) == ("a", "")
        assert found.resources == {ATTACHED: 1}


def test_a_template_shares_the_claims_that_it_names() -> None:
    volumes = Volumes(Objects(claims=(bound(),), volumes=(volume(nodeAffinity=at(ZONE, "b")),)))
    found = volumes.rules_of_template("default", uses("data"))
    assert found is not None
    assert zones(found) == "b"


@pytest.mark.parametrize(
    ("classes", "chosen"),
    [
        ([("fast", "2026-01-01", False)], None),
        ([("fast", "2026-01-01", True)], "fast"),
        ([("fast", "2026-01-01", True), ("new", "2026-01-02", True)], "new"),
        ([("b", "2026-01-01", True), ("a", "2026-01-01", True)], "a"),
    ],
)
def test_a_claim_yet_to_be_made_takes_the_default_class(
    classes: list[tuple[str, str, bool]], chosen: str | None
) -> None:
    made = tuple(
        storage_class(
            meta={
                "name": name,
                "creationTimestamp": f"{day}T00:00:00Z",
                "annotations": {
                    "storageclass.kubernetes.io/is-default-class": str(default).lower()
                },
            },
            provisioner=f"csi.{name}",
        )
        for name, day, default in classes
    )
    volumes = Volumes(Objects(storage_classes=made))
    found = volumes.rules_of_template("default", [], [claim(storageClassName=None)])
    assert found is not None
    if chosen is None:
        assert found.blocked
    else:
        assert found.resources == {f"attachable-volumes-csi-csi.{chosen}": 1}


# Volumes to attach


def disk(handle: str) -> Json:
    return {"csi": {"driver": DRIVER, "volumeHandle": handle}}


def test_volumes_are_counted_by_the_driver_that_attaches_them() -> None:
    found = rules(
        "one",
        "two",
        "three",
        "new",
        "same",
        claims=(
            bound("one", "pv-1"),
            bound("two", "pv-2"),
            bound("three", "pv-3"),
            claim("new"),
            bound("same", "pv-4"),
        ),
        volumes=(
            volume("pv-1", **disk("1")),
            volume("pv-2", **disk("2")),
            volume("pv-3", csi={"driver": "csi.other", "volumeHandle": "1"}),
            # One disk behind two volumes is attached once.
            volume("pv-4", **disk("1")),
        ),
        storage_classes=(storage_class(),),
    )
    assert found.resources == {ATTACHED: 3, "attachable-volumes-csi-csi.other": 1}


def test_volumes_that_nothing_attaches_are_not_counted() -> None:
    found = rules(
        "host",
        "local",
        claims=(bound("host"), claim("local")),
        volumes=(volume(hostPath={"path": "/data"}), volume("free")),
        storage_classes=(static(),),
    )
    assert found.resources == {}


def csi_node(name: str, count: int | None, driver: str = DRIVER) -> wire.CSINode:
    allocatable = {"count": count} if count is not None else None
    document = {
        "metadata": {"name": name},
        "spec": {"drivers": [{"name": driver, "nodeID": name, "allocatable": allocatable}]},
    }
    return msgspec.convert(document, wire.CSINode)


def test_csinodes_tell_how_many_volumes_attach() -> None:
    found = attach_limits(Objects(csi_nodes=(csi_node("a", 7), csi_node("b", None))))
    assert found.by_node == {"a": {ATTACHED: 7}}


def test_csinode_of_a_kubelet_without_drivers_is_read() -> None:
    bare = msgspec.convert({"metadata": {"name": "c"}, "spec": {"drivers": None}}, wire.CSINode)
    found = attach_limits(Objects(csi_nodes=(csi_node("a", 7), bare)))
    assert found.by_node == {"a": {ATTACHED: 7}}


def test_a_driver_may_keep_pods_off_nodes_where_it_does_not_run() -> None:
    nodes = tuple(wire.Node(metadata=wire.Meta(name=name)) for name in "abc")
    driver = msgspec.convert(
        {"metadata": {"name": DRIVER}, "spec": {"preventPodSchedulingIfMissing": True}},
        wire.CSIDriver,
    )
    there = (csi_node("a", 7), csi_node("b", None), csi_node("c", 3, "csi.other"))
    found = attach_limits(Objects(nodes=nodes, csi_nodes=there, csi_drivers=(driver,)))
    assert found.by_node == {
        "a": {ATTACHED: 7},
        "c": {ATTACHED: 0, "attachable-volumes-csi-csi.other": 3},
    }


# Shapes


def test_pods_whose_volumes_come_to_the_same_share_one_shape() -> None:
    objects = Objects(
        claims=(bound("one", "pv-1"), bound("two", "pv-2"), bound("three", "pv-3")),
        volumes=(
            volume("pv-1", nodeAffinity=at(ZONE, "a"), **disk("1")),
            volume("pv-2", nodeAffinity=at(ZONE, "a"), **disk("2")),
            volume("pv-3", nodeAffinity=at(ZONE, "b"), **disk("3")),
        ),
    )
    shapes = Shapes(volumes=Volumes(objects))

    def shape(name: str) -> Any:
        meta = wire.Meta(name=f"db-{name}", namespace="default")
        pod = wire.Pod(metadata=meta, spec=wire.PodSpec(volumes=uses(name)))
        return shapes.of_pod(pod)

    assert shape("one") is shape("two")
    assert shape("one").requests.extended == {ATTACHED: 1}
    assert shape("one").volume_nodes != shape("three").volume_nodes
    assert shape("missing").blocked == 'persistentvolumeclaim "missing" not found'
