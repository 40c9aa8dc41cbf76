"""The whole system on a real API server, for tests: simulated data centre and operator.

The operator is a process of its own and has the rights of its service account,
no more; so whatever it needs and ``manifests/rbac.yaml`` does not grant fails here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import aiohttp
import yaml

from livecluster import ensure_namespace, install_kinds
from plimsoll.kube import Json, Kube, NotFound
from plimsoll.resources import (
    CONFIGMAPS,
    CONTAINERWORKLOADS,
    DEPLOYMENTS,
    HYPERVISORS,
    NODES,
    PODS,
    VMNODES,
    VMPOOLS,
    Resource,
)
from plimsoll.simulator.run import DataCentre
from plimsoll_testenv import ControlPlane

MANIFESTS = Path(__file__).parents[1] / "manifests"
NAMESPACE = "plimsoll-system"
WORK = "stage"
"""Namespace of the workloads."""
PLIMSOLL = str(Path(sys.executable).with_name("plimsoll"))
"""The installed command."""
FORK_SERVER = Path(__file__).with_name("forkserver.py")
ENVIRONMENT = {
    "PLIMSOLL_HTTP_HOST": "127.0.0.1",
    "PLIMSOLL_HTTP_PORT": "0",
    "PLIMSOLL_LOG_FORMAT": "json",
    "PLIMSOLL_CONFLICT_RETRY": "1",
    "PLIMSOLL_DEBOUNCE": "0.05",
}
FAST = {"bootTime": "50ms", "hotAddTime": "50ms", "deleteTime": "50ms", "restartTime": "200ms"}
TIMEOUT = 40.0


class OperatorProcess:
    """The operator. ``log`` holds what it has said, one line each."""

    def __init__(self, kubeconfig: Path | str, **environment: str) -> None:
        self._environment = {
            **os.environ,
            **ENVIRONMENT,
            "KUBECONFIG": str(kubeconfig),
            **environment,
        }
        self.log: list[str] = []
        self.pid: int | None = None
        """Of the running operator; None: it does not run."""

    async def __aenter__(self) -> Self:
        # Forked from a process that has imported everything: a start takes a fraction of a second.
        self._server = await asyncio.create_subprocess_exec(
            *(sys.executable, str(FORK_SERVER)),
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.pid is not None:
            await self.end()
        assert self._server.stdin is not None
        self._server.stdin.close()
        await self._server.wait()
        await self._reader

    async def start(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(b"start\n")
        self.pid = await self._answer()

    async def kill(self) -> None:
        """As a power failure would."""
        await self.end(signal.SIGKILL)

    async def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends it; answers its exit code."""
        assert self.pid is not None
        with suppress(ProcessLookupError):  # it has ended by itself
            os.kill(self.pid, how)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Waits until it has ended; to be called once for each start."""
        code = await self._answer()
        self.pid = None
        return code

    async def _answer(self) -> int:
        assert self._server.stdout is not None
        return int(await self._server.stdout.readline())

    async def _read(self) -> None:
        assert self._server.stderr is not None
        async for line in self._server.stderr:
            self.log.append(line.decode().rstrip())

    async def port(self) -> int:
        """Where it serves health and metrics."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for line in reversed(self.log):
                    message = json.loads(line)["message"]
                    if message.startswith("serving /healthz"):
                        return int(message.rpartition(":")[2])
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of its endpoints."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{await self.port()}{path}") as answer,
        ):
            return answer.status, await answer.text()


class Stage:
    """What a test acts on."""

    def __init__(self, kube: Kube, operator: OperatorProcess) -> None:
        self.kube = kube
        self.operator = operator
        self.patience = TIMEOUT
        """Seconds that anything awaited may take."""

    async def apply(self, *objects: Json) -> None:
        """As a person with ``kubectl apply --server-side``."""
        for obj in objects:
            await self.kube.apply(obj, "person", force=True)

    async def get(self, resource: Resource, name: str) -> Json | None:
        namespace = WORK if resource.namespaced else None
        try:
            return await self.kube.get(resource, name, namespace)
        except NotFound:
            return None

    async def vms(self, pool: str = "") -> list[Json]:
        selector = f"plimsoll.dev/pool={pool}" if pool else ""
        return await self.kube.list_all(VMNODES, label_selector=selector)

    async def records(self) -> list[Json]:
        """The VMs that exist at the simulated hypervisors."""
        return await self.kube.list_all(
            CONFIGMAPS, NAMESPACE, label_selector="plimsoll.dev/simulated-hypervisor"
        )

    async def running(self, workload: str) -> list[Json]:
        """Ready pods of a workload."""
        pods = await self.kube.list_all(
            PODS, WORK, label_selector=f"plimsoll.dev/workload={workload}"
        )
        return [
            pod
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"] and condition(pod, "Ready") == "True"
        ]

    async def messages(self, reason: str) -> list[str]:
        """Messages of the Events with this reason, of all namespaces."""
        path = f"/api/v1/events?fieldSelector=reason={reason}"
        events = json.loads(await self.kube.raw("GET", path))["items"]
        return [event["message"] for event in events]

    async def until_event(self, reason: str) -> str:
        """Waits for an Event with this reason; answers its message."""
        messages = await self.until(lambda: self.messages(reason), f"an Event {reason}")
        return str(messages[0])

    async def until(self, condition: Callable[[], Awaitable[object]], what: str) -> Any:
        """Waits until the condition holds; answers what it gave.

        Raises:
            AssertionError: it does not hold in time, or the operator ended by itself.
        """
        last: object = None
        try:
            async with asyncio.timeout(self.patience):
                while not last:
                    last = await condition()
                    await asyncio.sleep(0 if last else 0.05)
        except TimeoutError:
            raise AssertionError(f"not in time: {what}; {await self._symptoms()}") from None
        return last

    async def _symptoms(self) -> str:
        """What may tell why something did not come about."""
        log = "\n".join(self.operator.log[-40:])
        try:
            health = [(await self.operator.get(path))[1] for path in ("/readyz", "/metrics")]
        except (aiohttp.ClientError, TimeoutError) as error:
            health = [repr(error)]
        return "\n".join(["the operator said:", log, "and shows:", *health])

    async def until_condition(
        self, resource: Resource, name: str, kind: str, status: str, reason: str = ""
    ) -> str:
        """Waits for a condition of one of our objects; answers its message."""

        async def holds() -> list[str]:
            obj = await self.get(resource, name)
            found = (obj or {}).get("status", {}).get("conditions", [])
            return [
                f"{c['message']} "
                for c in found
                if c["type"] == kind and c["status"] == status and c["reason"].startswith(reason)
            ]

        messages = await self.until(holds, f"{resource} {name}: {kind}={status} {reason}")
        return str(messages[0])

    async def remove_everything(self) -> None:
        """Deletes what people made, with the operator at work, and waits until all is gone."""
        for resource in (CONTAINERWORKLOADS, VMPOOLS, HYPERVISORS):
            for obj in await self.kube.list_all(resource):
                meta = obj["metadata"]
                await self.kube.delete(resource, meta["name"], meta.get("namespace"))
        for deployment in await self.kube.list_all(DEPLOYMENTS, WORK):
            await self.kube.delete(DEPLOYMENTS, deployment["metadata"]["name"], WORK)

        async def nothing_left() -> bool:
            for resource in (VMNODES, VMPOOLS, HYPERVISORS, NODES, PODS):
                if await self.kube.list_all(resource):
                    return False
            return not await self.records()

        await self.until(nothing_left, "everything is gone")


@asynccontextmanager
async def stage_on(
    control_plane: ControlPlane, server: str = "", **environment: str
) -> AsyncIterator[Stage]:
    """Data centre and operator at work; everything is removed at the end.

    ``server`` is the address at which the operator finds the API server, where it
    is not the API server's own.
    """
    await asyncio.to_thread(prepare, control_plane)
    stop = asyncio.Event()
    async with Kube.from_environment(str(control_plane.kubeconfig)) as kube:
        await ensure_namespace(kube, WORK)
        with TemporaryDirectory() as folder:
            config = await operator_kubeconfig(kube, control_plane, Path(folder), server)
            async with (
                OperatorProcess(config, **environment) as operator,
                asyncio.TaskGroup() as tasks,
            ):
                tasks.create_task(DataCentre(kube, NAMESPACE).run(stop))
                stage = Stage(kube, operator)
                try:
                    await operator.start()
                    if await kube.list_all(VMPOOLS):  # a test before this one failed badly
                        await stage.remove_everything()
                    yield stage
                finally:
                    # Also after a failure: the next test finds an empty stage.
                    await stage.remove_everything()
                    stop.set()


def prepare(control_plane: ControlPlane) -> None:
    """What a person does once: kinds, namespace, rights."""
    install_kinds(control_plane)
    for name in ("namespace.yaml", "rbac.yaml"):
        control_plane.run_kubectl("apply", "-f", str(MANIFESTS / name))


async def operator_kubeconfig(
    kube: Kube, control_plane: ControlPlane, folder: Path, server: str = ""
) -> Path:
    """A kubeconfig with a token of the operator's service account."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 3600},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/plimsoll/token"
    token = json.loads(await kube.raw("POST", path, request))["status"]["token"]
    config = yaml.safe_load(control_plane.kubeconfig.read_text())
    config["users"] = [{"name": "operator", "user": {"token": token}}]
    for context in config["contexts"]:
        context["context"]["user"] = "operator"
    if server:
        config["clusters"][0]["cluster"] = {"server": server}
    path_ = folder / "kubeconfig"
    path_.write_text(json.dumps(config))
    return path_


def condition(obj: Json, kind: str) -> str:
    """Status of a condition; empty: it has none."""
    found = obj.get("status", {}).get("conditions", [])
    return next((str(c["status"]) for c in found if c["type"] == kind), "")


def hypervisor(name: str = "rack", hosts: int = 3, **spec: Any) -> Json:
    machines = [
        {"name": f"{name}-h{number}", "cpu": 16, "memory": "64Gi"} for number in range(1, hosts + 1)
    ]
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "Hypervisor",
        "metadata": {"name": name},
        "spec": {
            "provider": "simulated",
            "inventoryInterval": "1s",
            "simulated": {"hosts": machines, **FAST},
            **spec,
        },
    }


def pool(name: str = "web", **spec: Any) -> Json:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "VMPool",
        "metadata": {"name": name},
        "spec": {
            "hypervisor": "rack",
            "nodes": {"min": 1, "max": 6},
            "size": {
                "cpu": {"min": 2, "max": 4, "step": 2},
                "memory": {"min": "4Gi", "max": "8Gi", "step": "1Gi"},
            },
            "disruption": {"consolidateAfter": "1s"},
            **spec,
        },
    }


def workload(name: str = "httpd", **spec: Any) -> Json:
    return {
        "apiVersion": "plimsoll.dev/v1alpha1",
        "kind": "ContainerWorkload",
        "metadata": {"name": name, "namespace": WORK},
        "spec": {
            "template": {"spec": {"containers": [{"name": name, "image": name}]}},
            "scaleUp": {
                "cpu": {"min": "500m", "max": "1"},
                "memory": {"min": "256Mi", "max": "1Gi"},
            },
            "scaleOut": {"min": 2, "max": 40},
            **spec,
        },
    }
