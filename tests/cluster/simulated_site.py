"""A simulated data centre on a real API server, for tests: one namespace and one Hypervisor."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from plimsoll.api import Hypervisor
from plimsoll.hypervisors.contract import Provider
from plimsoll.hypervisors.registry import provider_for
from plimsoll.kube import Kube, NotFound
from plimsoll.resources import HYPERVISORS, NODES, PODS
from plimsoll.simulator.run import DataCentre
from plimsoll.world import wire
from plimsoll_testenv.control_plane import ControlPlane

CRDS = Path(__file__).parents[2] / "crds"
GIB = 1024**3
FAST = {"bootTime": "100ms", "hotAddTime": "100ms", "deleteTime": "100ms", "restartTime": "300ms"}


class Site:
    """Two hosts of 8 CPUs and 16 GiB unless said otherwise; everything takes 0.1 s."""

    small = (2, 2 * GIB)
    larger = (4, 8 * GIB)
    timeout = 20.0
    template = None

    def __init__(self, control_plane: ControlPlane) -> None:
        self.name = f"sim-{uuid.uuid4().hex[:8]}"
        """Of the namespace and of the Hypervisor."""
        self._control_plane = control_plane

    @property
    def kubeconfig(self) -> str:
        return str(self._control_plane.kubeconfig)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self._control_plane.run_kubectl(*arguments, stdin=stdin)

    def set_up(self) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
        self.kubectl("wait", "--for=condition=Established", "-f", str(CRDS), "--timeout=30s")
        self.kubectl("create", "namespace", self.name)
        hosts = [
            {"name": f"{self.name}-h{number}", "zone": f"z{number}", "cpu": 8, "memory": "16Gi"}
            for number in (1, 2)
        ]
        self.create(
            {
                "apiVersion": "plimsoll.dev/v1alpha1",
                "kind": "Hypervisor",
                "metadata": {"name": self.name},
                "spec": {"provider": "simulated", "simulated": {"hosts": hosts, **FAST}},
            }
        )

    def tear_down(self) -> None:
        self.kubectl("delete", "hypervisor", self.name, "--ignore-not-found", "--wait=false")
        self.kubectl("delete", "nodes", "-l", f"plimsoll.dev/hypervisor={self.name}")
        self.kubectl("delete", "namespace", self.name, "--wait=false")

    def create(self, obj: dict[str, Any]) -> None:
        self.kubectl("create", "-f", "-", stdin=json.dumps(obj))

    def host(self, number: int) -> str:
        return f"{self.name}-h{number}"

    @asynccontextmanager
    async def kube(self) -> AsyncIterator[Kube]:
        async with Kube.from_environment(self.kubeconfig) as kube:
            yield kube

    @asynccontextmanager
    async def provider(self, cluster: str = "this", **changes: Any) -> AsyncIterator[Provider]:
        """A provider, without time passing in the data centre. ``changes`` go to its settings."""
        async with self.kube() as kube:
            if changes:
                await self.set(kube, **changes)
            found = Hypervisor.model_validate(await kube.get(HYPERVISORS, self.name))
            provider = provider_for(found, kube, cluster, self.name)
            yield provider
            await provider.close()

    @asynccontextmanager
    async def connect(self, cluster: str = "this", **changes: Any) -> AsyncIterator[Provider]:
        """A provider, with the simulator running in this process."""
        async with self.provider(cluster, **changes) as provider, self.simulator():
            yield provider

    @asynccontextmanager
    async def simulator(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        async with self.kube() as kube, asyncio.TaskGroup() as tasks:
            tasks.create_task(DataCentre(kube, self.name).run(stop))
            try:
                yield
            finally:
                stop.set()

    @asynccontextmanager
    async def simulator_process(
        self, *options: str, kubeconfig: Path | None = None
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The simulator as a process of its own; killed at the end."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "plimsoll.simulator", *(options or ("--no-metrics",))),
            *("--kubeconfig", str(kubeconfig or self.kubeconfig), "--namespace", self.name),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def set(self, kube: Kube, **settings: Any) -> None:
        """Changes ``spec.simulated``."""
        await kube.merge_patch(HYPERVISORS, self.name, {"spec": {"simulated": settings}})

    async def set_host(self, kube: Kube, number: int, state: str) -> None:
        """Makes a host fail, or come back."""
        patch = [{"op": "add", "path": f"/spec/simulated/hosts/{number - 1}/state", "value": state}]
        await kube.json_patch(HYPERVISORS, self.name, patch)

    async def until_node(
        self, kube: Kube, name: str, good: Callable[[wire.Node], object]
    ) -> wire.Node:
        """The node, once it is as wished.

        Raises:
            AssertionError: it was not in time; it shows the last state.
        """
        node: wire.Node | None = None
        try:
            async with asyncio.timeout(self.timeout):
                while node is None or not good(node):
                    await asyncio.sleep(0.02)
                    try:
                        node = await kube.get(NODES, name, type=wire.Node)
                    except NotFound:
                        node = None
        except TimeoutError:
            raise AssertionError(f"node {name} not as wished in time; last: {node!r}") from None
        return node

    async def pods_on(self, kube: Kube, node: str) -> list[wire.Pod]:
        return await kube.list_all(
            PODS, self.name, field_selector=f"spec.nodeName={node}", type=wire.Pod
        )


@contextmanager
def site_on(control_plane: ControlPlane) -> Iterator[Site]:
    """A fresh site, torn down at the end."""
    site = Site(control_plane)
    site.set_up()
    try:
        yield site
    finally:
        site.tear_down()


def is_ready(node: wire.Node) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
