"""The reflector and the world against a real API server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec

import aio
from livecluster import ensure_namespace, install_kinds
from plimsoll.kube import Kube
from plimsoll.resources import CONFIGMAPS, CSINODES, PODS, STORAGECLASSES, VMPOOLS, Resource
from plimsoll.world import wire
from plimsoll.world.attachments import attach_limits
from plimsoll.world.reflector import Reflector
from plimsoll.world.stores import UNFINISHED, World
from plimsoll.world.volumes import Volumes
from plimsoll_testenv import ControlPlane

NAMESPACE = "test-reflector"


def configmap(name: str, **labels: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


def reflector_of(
    kube: Kube, resource: Resource = CONFIGMAPS, page_size: int = 100
) -> Reflector[wire.Object]:
    return Reflector(kube, resource, msgspec.json.Decoder(wire.Object).decode, page_size=page_size)


def names_in(reflector: Reflector[Any], prefix: str) -> set[str]:
    return {
        obj.metadata.name
        for obj in reflector.store.values()
        if obj.metadata.namespace == NAMESPACE and obj.metadata.name.startswith(prefix)
    }


def test_many_objects_come_in_pages_and_every_own_write_is_seen(
    control_plane: ControlPlane,
) -> None:
    wanted = {f"many-{n}" for n in range(300)}

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)
            names = sorted(wanted)
            for start in range(0, len(names), 25):
                batch = names[start : start + 25]
                await asyncio.gather(*(kube.create(configmap(name)) for name in batch))
            reflector = reflector_of(kube)
            async with aio.background(reflector.run()):
                await reflector.wait_synced()
                assert names_in(reflector, "many-") == wanted

                for turn in range(20):
                    labels = {"metadata": {"labels": {"turn": str(turn)}}}
                    meta = (await kube.merge_patch(CONFIGMAPS, "many-7", labels, NAMESPACE))[
                        "metadata"
                    ]
                    await reflector.wait_for(NAMESPACE, "many-7", meta["resourceVersion"])
                    seen = reflector.store.get(NAMESPACE, "many-7")
                    assert seen is not None
                    assert seen.metadata.labels == {"turn": str(turn)}

                first = await kube.create(configmap("short-lived"))
                await kube.delete(CONFIGMAPS, "short-lived", NAMESPACE)
                second = await kube.create(configmap("short-lived", again="yes"))
                await reflector.wait_for(
                    NAMESPACE, "short-lived", second["metadata"]["resourceVersion"]
                )
                seen = reflector.store.get(NAMESPACE, "short-lived")
                assert seen is not None
                assert seen.metadata.uid == second["metadata"]["uid"]
                assert seen.metadata.uid != first["metadata"]["uid"]

    aio.run(scenario())


def test_finished_pods_leave(control_plane: ControlPlane) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "finishing", "namespace": NAMESPACE},
        "spec": {
            "containers": [{"name": "main", "image": "none"}],
            "nodeSelector": {"nobody": "here"},
        },
    }

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)
            reflector = Reflector(
                kube, PODS, msgspec.json.Decoder(wire.Pod).decode, field_selector=UNFINISHED
            )
            async with aio.background(reflector.run()):
                await reflector.wait_synced()
                created = await kube.create(pod)
                await reflector.wait_for(
                    NAMESPACE, "finishing", created["metadata"]["resourceVersion"]
                )
                assert names_in(reflector, "finishing")
                await kube.patch_status(PODS, "finishing", {"phase": "Succeeded"}, NAMESPACE)
                await aio.eventually(lambda: not names_in(reflector, "finishing"))

    aio.run(scenario())


def test_a_missing_permission_is_said_and_recovers_when_granted(
    control_plane: ControlPlane,
) -> None:
    kubeconfig = control_plane.kubeconfig_for("reflector-newcomer")
    role = "test-reflector-configmaps"

    async def scenario() -> None:
        async with Kube(str(kubeconfig)) as kube:
            reflector = reflector_of(kube)
            async with aio.background(reflector.run()):
                await aio.eventually(lambda: reflector.problem)
                assert not reflector.synced
                assert 'User "reflector-newcomer" cannot list resource "configmaps"' in (
                    reflector.problem
                )
                grant = ("--verb=list,watch", "--resource=configmaps")
                await asyncio.to_thread(
                    control_plane.run_kubectl, "create", "clusterrole", role, *grant
                )
                await asyncio.to_thread(
                    control_plane.run_kubectl,
                    *("create", "clusterrolebinding", role, f"--clusterrole={role}"),
                    "--user=reflector-newcomer",
                )
                await asyncio.wait_for(reflector.wait_synced(), 30)
                await aio.eventually(lambda: reflector.problem == "")

    try:
        aio.run(scenario())
    finally:
        control_plane.run_kubectl(
            "delete", "--ignore-not-found", f"clusterrole/{role}", f"clusterrolebinding/{role}"
        )


def test_a_kind_that_is_not_installed_is_said(control_plane: ControlPlane) -> None:
    absent = Resource("plimsoll.dev", "v1alpha1", "teapots", False, "Teapot")

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            reflector = reflector_of(kube, absent)
            async with aio.background(reflector.run()):
                await aio.eventually(lambda: reflector.problem)
                assert "does not serve teapots.plimsoll.dev" in reflector.problem
                assert not reflector.synced

    aio.run(scenario())


def test_the_world_is_read_and_follows_own_writes(control_plane: ControlPlane) -> None:
    install_kinds(control_plane)
    pool = {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": "test-reflector"},
        "spec": {
            "hypervisor": "absent",
            "nodes": {"min": 0, "max": 3},
            "size": {
                "cpu": {"min": 2, "max": 4, "step": 2},
                "memory": {"min": "4Gi", "max": "8Gi", "step": "4Gi"},
            },
        },
    }

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            world = World(kube)
            changed: list[tuple[Resource, str]] = []
            async with aio.background(world.run()):
                async with asyncio.timeout(30):
                    await world.wait_synced()
                await aio.eventually(lambda: world.unreadable() == {})
                assert world.stuck(60.0) == {}
                world.on_change(
                    lambda resource, key, old, new: changed.append((resource, key.name))
                )
                written = await kube.create(pool)
                await world.wait_for(written)
                assert (VMPOOLS, "test-reflector") in changed
                (found,) = (p for p in world.objects().pools if p.metadata.name == "test-reflector")
                assert found.spec.nodes.max == 3
                assert {n.metadata.name for n in world.objects().namespaces} >= {"kube-system"}
                await kube.delete(VMPOOLS, "test-reflector")
                await aio.eventually(lambda: world.pools.store.get("", "test-reflector") is None)

    aio.run(scenario())


def test_without_any_permission_the_world_names_everything_that_is_missing(
    control_plane: ControlPlane,
) -> None:
    install_kinds(control_plane)

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig_for("world-nobody"))) as kube:
            world = World(kube)
            async with aio.background(world.run()):
                await aio.eventually(lambda: all(r.problem for r in world.reflectors.values()))
                assert not world.synced
                unreadable = world.unreadable()
                assert len(unreadable) == 20
                assert "cannot list resource" in unreadable[PODS]

    aio.run(scenario())


def test_the_world_tells_where_the_volumes_of_a_pod_can_be_reached(
    control_plane: ControlPlane,
) -> None:
    zone = {"key": "topology.kubernetes.io/zone", "values": ["a"]}
    storage = (
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "test-reflector"},
            "provisioner": "csi.example",
            "volumeBindingMode": "WaitForFirstConsumer",
            "allowedTopologies": [{"matchLabelExpressions": [zone]}],
        },
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": "test-reflector"},
            "spec": {
                "drivers": [{"name": "csi.example", "nodeID": "n", "allocatable": {"count": 7}}]
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": NAMESPACE},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "test-reflector",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )
    volume = wire.Volume(
        persistent_volume_claim=wire.PersistentVolumeClaimVolumeSource(claim_name="data")
    )

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)
            world = World(kube)
            async with aio.background(world.run()):
                async with asyncio.timeout(30):
                    await world.wait_synced()
                for written in storage:
                    await world.wait_for(await kube.create(written))
                objects = world.objects()
                rules = Volumes(objects).rules_of(NAMESPACE, "p", [volume])
                assert rules is not None
                assert rules.blocked == ""
                ((term,),) = (s.node_selector_terms for s in rules.nodes)
                assert term.match_expressions == [
                    wire.SelectorRequirement(
                        key="topology.kubernetes.io/zone", operator="In", values=["a"]
                    )
                ]
                resource = "attachable-volumes-csi-csi.example"
                assert rules.resources == {resource: 1}
                assert attach_limits(objects).by_node["test-reflector"] == {resource: 7}
                await kube.delete(CSINODES, "test-reflector")
                await kube.delete(STORAGECLASSES, "test-reflector")

    aio.run(scenario())


def test_controllers_know_their_kind_from_lists_and_watches(
    control_plane: ControlPlane,
) -> None:
    def deployment(name: str) -> str:
        labels = {"app": name}
        return json.dumps(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {"containers": [{"name": "main", "image": "none"}]},
                    },
                },
            }
        )

    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)
            await kube.create(json.loads(deployment("listed")))
            world = World(kube)
            async with aio.background(world.deployments.run()):
                await world.deployments.wait_synced()
                await world.wait_for(await kube.create(json.loads(deployment("watched"))))
                kinds = {
                    obj.metadata.name: obj.kind
                    for obj in world.deployments.store.values()
                    if obj.metadata.namespace == NAMESPACE
                }
                assert kinds == {"listed": "Deployment", "watched": "Deployment"}

    aio.run(scenario())
