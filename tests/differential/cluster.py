"""The control plane as one comparison uses it: few requests, and one watch of all pods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec

from differential.generate import NAMESPACES, PRIORITY_CLASSES, SYSTEM, Json
from differential.isolate import OWN, SLOT, Isolation
from livecluster import ensure_namespace
from plimsoll.apierrors import AlreadyExists, Invalid, NotFound
from plimsoll.kube import Kube
from plimsoll.resources import PODS

GATE: Final = "differential.example.com/nominated-first"
"""Scheduling gate of a pod until the scheduler has been told where it is to go."""

PATIENCE: Final = 120.0
"""Seconds for one request: a busy machine is no disagreement."""

_NAMESPACES: Final = {**NAMESPACES, SYSTEM: {"stage": "live"}}
_PATHS: Final = {
    "RuntimeClass": "/apis/node.k8s.io/v1/runtimeclasses",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
    "CSINode": "/apis/storage.k8s.io/v1/csinodes",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{namespace}/persistentvolumeclaims",
    "DaemonSet": "/apis/apps/v1/namespaces/{namespace}/daemonsets",
}


class _Meta(msgspec.Struct):
    name: str
    namespace: str
    uid: str
    labels: dict[str, str] = {}
    resourceVersion: str = ""  # noqa: N815
    deletionTimestamp: str | None = None  # noqa: N815


class _Gate(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct):
    affinity: Json = {}
    nodeName: str = ""  # noqa: N815
    schedulingGates: list[_Gate] = []  # noqa: N815


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct):
    nominatedNodeName: str = ""  # noqa: N815
    conditions: list[_Condition] = []


class SeenPod(msgspec.Struct):
    """What of a pod tells what became of it."""

    metadata: _Meta
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def node(self) -> str:
        """The node that it is bound to, or nothing."""
        return self.spec.nodeName

    @property
    def wanted_node(self) -> str:
        """The node for which the controller of a DaemonSet made it."""
        required = self.spec.affinity["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]
        fields = required["nodeSelectorTerms"][0]["matchFields"]
        return str(fields[0]["values"][0])

    @property
    def verdict(self) -> str:
        """What the scheduler says of a pod that it could not place; empty: nothing yet."""
        for condition in self.status.conditions:
            if condition.type == "PodScheduled" and condition.status == "False":
                return f"{condition.reason}: {condition.message}"
        return ""


class Cluster:
    """One control plane, with slots in which worlds are set up and taken down."""

    def __init__(self, kube: Kube) -> None:
        self.kube = kube
        self.pods: dict[tuple[str, str], SeenPod] = {}
        self.changes: dict[str, int] = {}
        self._changed: dict[str, asyncio.Event] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, kubeconfig: str, slots: int) -> AsyncIterator[Cluster]:
        """Makes the namespaces of the slots, and follows the pods."""
        async with Kube(kubeconfig) as kube:
            cluster = cls(kube)
            await cluster._prepare(slots)
            watching = asyncio.create_task(cluster._watch())
            try:
                yield cluster
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching

    async def _prepare(self, slots: int) -> None:
        for name, settings in PRIORITY_CLASSES.items():
            item = {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": name},
                **settings,
            }
            with suppress(AlreadyExists):
                await self.kube.create(item)

        async def prepare(slot: int, name: str, labels: dict[str, str]) -> None:
            namespace = Isolation("", slot).namespace(name)
            await ensure_namespace(self.kube, namespace)
            patch = {"metadata": {"labels": {**labels, SLOT: str(slot)}}}
            await self._patch(f"/api/v1/namespaces/{namespace}", patch)
            await self._delete(f"/api/v1/namespaces/{namespace}/pods", {"gracePeriodSeconds": 0})

        await asyncio.gather(
            *(
                prepare(slot, name, labels)
                for slot in range(slots)
                for name, labels in _NAMESPACES.items()
            )
        )

    async def _watch(self) -> None:
        version = ""
        async for page in self.kube.list_pages(PODS, type=SeenPod):
            version = page.resource_version
            for pod in page.items:
                self.pods[pod.metadata.namespace, pod.metadata.name] = pod
        while True:
            async with self.kube.watch(PODS, version, timeout_seconds=300) as events:
                async for event in events:
                    if event.type == "BOOKMARK":
                        continue
                    pod = msgspec.json.decode(event.object, type=SeenPod)
                    version = pod.metadata.resourceVersion
                    key = (pod.metadata.namespace, pod.metadata.name)
                    if event.type == "DELETED":
                        self.pods.pop(key, None)
                    else:
                        self.pods[key] = pod
                    namespace = key[0]
                    self.changes[namespace] = self.changes.get(namespace, 0) + 1
                    self._changed.setdefault(_slot(namespace), asyncio.Event()).set()

    async def wait(self, slot: int, done: Callable[[], bool], quiet: float) -> bool:
        """Awaits that something is so; False if nothing changed for `quiet` seconds before it."""
        changed = self._changed.setdefault(f"slot-{slot}", asyncio.Event())
        while not done():
            changed.clear()
            try:
                async with asyncio.timeout(quiet):
                    await changed.wait()
            except TimeoutError:
                return done()
        return True

    # Writing

    async def create(self, item: Json) -> None:
        """Creates an object of a kind that worlds hold."""
        namespace = item["metadata"].get("namespace", "")
        await self._post(_PATHS[item["kind"]].format(namespace=namespace), item)

    async def create_node(self, node: Json) -> None:
        """A node that is ready, without a kubelet: binding is all that is looked at."""
        await self._post("/api/v1/nodes", node)
        # The API server taints new nodes as not ready; a controller would take it off later.
        taints = node["spec"].get("taints") or None
        await self._patch(f"/api/v1/nodes/{node['metadata']['name']}", {"spec": {"taints": taints}})

    async def create_pod(self, pod: Json) -> None:
        """Creates a pod."""
        await self._post(f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods", pod)

    async def nominate(self, namespace: str, name: str, node: str | None) -> None:
        """Tells the scheduler where a pending pod is to go."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
        # A pod that was bound in the meantime cannot be nominated any more.
        with suppress(NotFound, Invalid):
            await self._patch(path, {"status": {"nominatedNodeName": node}})

    async def lift_gate(self, namespace: str, name: str) -> None:
        """Lets the scheduler look at a pod."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        await self._patch(path, {"spec": {"schedulingGates": None}})

    async def delete_pod(self, namespace: str, name: str) -> None:
        """Deletes a pod at once."""
        with suppress(NotFound):
            await self._delete(
                f"/api/v1/namespaces/{namespace}/pods/{name}", {"gracePeriodSeconds": 0}
            )

    async def grow_node(self, name: str, amounts: dict[str, str]) -> None:
        """Gives a node more of its resources."""
        status = {"capacity": amounts, "allocatable": amounts}
        await self._patch(f"/api/v1/nodes/{name}/status", {"status": status})

    async def claim_bound(self, claim: Json) -> bool:
        """Whether a PersistentVolumeClaim has its volume."""
        meta = claim["metadata"]
        path = _PATHS["PersistentVolumeClaim"].format(namespace=meta["namespace"])
        found = msgspec.json.decode(await self.kube.raw("GET", f"{path}/{meta['name']}"))
        return bool(found["status"].get("phase") == "Bound")

    async def clear(self, isolation: Isolation, kinds: Iterable[str]) -> None:
        """Takes a world down."""
        namespaces = [isolation.namespace(name) for name in _NAMESPACES]
        kinds = set(kinds)
        if "DaemonSet" in kinds:
            await self._delete_all("DaemonSet", namespaces)
        options = {"gracePeriodSeconds": 0}
        await asyncio.gather(
            *(self._delete(f"/api/v1/namespaces/{ns}/pods", options) for ns in namespaces)
        )
        own = {"labelSelector": f"{OWN}={isolation.world}"}
        await self._delete("/api/v1/nodes", options, own)
        for kind in _PATHS:
            if kind in kinds and kind != "DaemonSet":
                await self._delete_all(kind, namespaces, own)
        # The next world has pods of the same names.
        own_pods = [key for key in self.pods if key[0] in namespaces]
        await self.wait(isolation.slot, lambda: not any(k in self.pods for k in own_pods), 5.0)

    async def _delete_all(
        self, kind: str, namespaces: list[str], query: dict[str, str] | None = None
    ) -> None:
        paths = [_PATHS[kind].format(namespace=namespace) for namespace in namespaces]
        await asyncio.gather(*(self._delete(path, {}, query) for path in sorted(set(paths))))

    async def _delete(self, path: str, options: Json, query: dict[str, str] | None = None) -> None:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options}
        await self.kube.raw("DELETE", path, body, query=query, timeout=PATIENCE)

    async def _post(self, path: str, body: Json) -> None:
        await self.kube.raw("POST", path, body, timeout=PATIENCE)

    async def _patch(self, path: str, body: Json) -> None:
        await self.kube.raw(
            "PATCH", path, body, content_type="application/merge-patch+json", timeout=PATIENCE
        )


def _slot(namespace: str) -> str:
    return "-".join(namespace.split("-")[:2])
