"""The client against a real API server: writes, preconditions, typed refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

import aio
from livecluster import ensure_namespace, install_kinds
from plimsoll.kube import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    Kube,
    NotFound,
    TooManyRequests,
)
from plimsoll.resources import (
    CONFIGMAPS,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    SECRETS,
    VMPOOLS,
)
from plimsoll.world import wire
from plimsoll_testenv import ControlPlane

NAMESPACE = "test-kube"
Call = Callable[[Kube], Awaitable[None]]


@pytest.fixture
def with_kube(control_plane: ControlPlane) -> Callable[[Call], None]:
    """Runs a coroutine with an administrator's client, in a namespace for these tests."""

    async def scenario(call: Call) -> None:
        async with Kube.from_environment(str(control_plane.kubeconfig)) as kube:
            await ensure_namespace(kube, NAMESPACE)
            await call(kube)

    return lambda call: aio.run(scenario(call))


def configmap(name: str, **data: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """A pod that no node takes: it stays Pending, and is gone at once when deleted."""
    meta = {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}
    container = {"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [container], "nodeSelector": {"nobody": "here"}, **spec},
    }


def test_an_object_is_created_read_patched_and_deleted(
    with_kube: Callable[[Call], None],
) -> None:
    async def call(kube: Kube) -> None:
        created = await kube.create(configmap("life", a="1"))
        with pytest.raises(AlreadyExists):
            await kube.create(configmap("life"))
        patched = await kube.merge_patch(CONFIGMAPS, "life", {"data": {"b": "2"}}, NAMESPACE)
        assert patched["data"] == {"a": "1", "b": "2"}
        await kube.json_patch(
            CONFIGMAPS,
            "life",
            [
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "replace", "path": "/data/a", "value": "one"},
            ],
            NAMESPACE,
        )
        refused = {"op": "test", "path": "/data/a", "value": "1"}
        with pytest.raises(Invalid):
            await kube.json_patch(CONFIGMAPS, "life", [refused], NAMESPACE)
        assert (await kube.get(CONFIGMAPS, "life", NAMESPACE))["data"]["a"] == "one"
        typed = await kube.get(CONFIGMAPS, "life", NAMESPACE, type=wire.Object)
        assert typed.metadata.uid == created["metadata"]["uid"]
        await kube.delete(CONFIGMAPS, "life", NAMESPACE)
        with pytest.raises(NotFound):
            await kube.get(CONFIGMAPS, "life", NAMESPACE)

    with_kube(call)


def test_a_stale_resource_version_is_a_conflict(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        created = await kube.create(configmap("stale"))
        stale = created["metadata"]["resourceVersion"]
        await kube.merge_patch(CONFIGMAPS, "stale", {"data": {"a": "1"}}, NAMESPACE)
        patch = {"metadata": {"resourceVersion": stale}, "data": {"a": "2"}}
        with pytest.raises(Conflict):
            await kube.merge_patch(CONFIGMAPS, "stale", patch, NAMESPACE)
        with pytest.raises(Conflict):
            await kube.delete(CONFIGMAPS, "stale", NAMESPACE, resource_version=stale)
        with pytest.raises(Conflict):
            await kube.delete(CONFIGMAPS, "stale", NAMESPACE, uid="another")
        await kube.delete(CONFIGMAPS, "stale", NAMESPACE, uid=created["metadata"]["uid"])

    with_kube(call)


def test_a_field_has_one_owner(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        await kube.apply(configmap("owned", a="1"), "one")
        with pytest.raises(Conflict) as caught:
            await kube.apply(configmap("owned", a="2"), "other")
        ((reason, field, message),) = caught.value.causes
        assert (reason, field) == ("FieldManagerConflict", ".data.a")
        assert '"one"' in message
        forced = await kube.apply(configmap("owned", a="2"), "other", force=True)
        assert forced["data"] == {"a": "2"}

    with_kube(call)


def test_status_and_capacity_are_patched_on_a_node(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        meta = {"name": "test-kube-node"}
        await kube.create({"apiVersion": "v1", "kind": "Node", "metadata": meta})
        try:
            capacity = {"capacity": {"plimsoll.dev/berths": "7"}}
            patched = await kube.patch_status(NODES, "test-kube-node", capacity)
            assert patched["status"]["capacity"] == {"plimsoll.dev/berths": "7"}
        finally:
            await kube.delete(NODES, "test-kube-node")

    with_kube(call)


def test_a_pod_is_resized_by_its_subresource(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        await kube.create(pod("small"))
        larger = {"name": "main", "resources": {"requests": {"cpu": "250m"}}}
        resized = await kube.patch_subresource(
            PODS, "small", "resize", {"spec": {"containers": [larger]}}, NAMESPACE
        )
        (container,) = resized["spec"]["containers"]
        assert container["resources"]["requests"] == {"cpu": "250m"}
        assert container["image"] == "none", "merged by name, not replaced"
        await kube.delete(PODS, "small", NAMESPACE)

    with_kube(call)


def test_an_eviction_checks_the_uid_and_the_budget(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        uid = (await kube.create(pod("guarded")))["metadata"]["uid"]
        with pytest.raises(Conflict):
            await kube.evict("guarded", NAMESPACE, "another-uid")
        await kube.create(
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "guarded", "namespace": NAMESPACE},
                "spec": {"selector": {"matchLabels": {"app": "guarded"}}, "minAvailable": 1},
            }
        )
        running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await kube.patch_status(PODS, "guarded", running, NAMESPACE)
        with pytest.raises(TooManyRequests):
            await kube.evict("guarded", NAMESPACE, uid)
        await kube.delete(PODDISRUPTIONBUDGETS, "guarded", NAMESPACE)
        await kube.evict("guarded", NAMESPACE, uid)
        with pytest.raises(NotFound):
            await kube.evict("never-was", NAMESPACE, uid)

    with_kube(call)


def test_a_refused_object_says_which_field(with_kube: Callable[[Call], None]) -> None:
    async def call(kube: Kube) -> None:
        with pytest.raises(Invalid) as caught:
            await kube.create(pod("bad", restartPolicy="Sometimes"))
        assert any(field == "spec.restartPolicy" for _, field, _ in caught.value.causes)

    with_kube(call)


def test_a_watch_from_before_the_servers_memory_is_gone(
    control_plane: ControlPlane, with_kube: Callable[[Call], None]
) -> None:
    # The server remembers events of a custom kind from when its definition came, not before.
    install_kinds(control_plane)

    async def events_from_the_beginning(kube: Kube) -> None:
        async with kube.watch(VMPOOLS, "1") as events:
            async for _ in events:
                pass

    async def call(kube: Kube) -> None:
        await kube.list_all(VMPOOLS)
        with pytest.raises(Gone):
            await events_from_the_beginning(kube)

    with_kube(call)


def test_a_watch_brings_events_until_the_server_ends_it(
    with_kube: Callable[[Call], None],
) -> None:
    async def call(kube: Kube) -> None:
        created = await kube.create(configmap("watched"))
        since = created["metadata"]["resourceVersion"]
        await kube.delete(CONFIGMAPS, "watched", NAMESPACE)
        seen = []
        async with kube.watch(CONFIGMAPS, since, NAMESPACE, timeout_seconds=2) as events:
            async for event in events:
                if event.type != "BOOKMARK":
                    obj = msgspec.json.decode(event.object, type=wire.Object)
                    seen.append((event.type, obj.metadata.name))
        assert seen == [("DELETED", "watched")]

    with_kube(call)


def test_without_permission_it_is_forbidden(control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with Kube(str(control_plane.kubeconfig_for("test-kube-nobody"))) as kube:
            with pytest.raises(Forbidden, match='"test-kube-nobody" cannot list resource'):
                await kube.list_all(SECRETS)

    aio.run(scenario())
