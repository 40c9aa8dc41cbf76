"""``plimsoll simulate`` as a process, with the rights that its manifest grants and no others."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from aio import run
from cluster.provider_contract import intent_of, until
from cluster.simulated_site import Site, is_ready, site_on
from plimsoll.kube import ApiError, Kube, NotFound
from plimsoll.resources import APISERVICES, NODE_METRICS
from plimsoll.simulator.aggregation import APISERVICE
from plimsoll_testenv.control_plane import ControlPlane

RBAC = Path(__file__).parents[2] / "manifests" / "simulator-rbac.yaml"


@pytest.fixture
def site(control_plane: ControlPlane) -> Iterator[Site]:
    with site_on(control_plane) as fresh:
        yield fresh


@pytest.fixture
def kubeconfig(site: Site, control_plane: ControlPlane) -> Iterator[Path]:
    """Of a user who may do what the manifest's service account may, in this site's namespace."""
    user = f"{site.name}-simulator"
    account = re.compile(r"kind: ServiceAccount\n( +)name: \S+\n +namespace: \S+")
    text = account.sub(
        rf"kind: User\n\1name: {user}\n\1apiGroup: rbac.authorization.k8s.io", RBAC.read_text()
    )
    text = text.partition("---\n")[2]  # without the service account itself
    text = text.replace("namespace: plimsoll-system", f"namespace: {site.name}")
    site.kubectl("apply", "-f", "-", stdin=text)
    yield control_plane.kubeconfig_for(user)
    site.kubectl("delete", "-f", "-", stdin=text)


def test_it_needs_no_more_than_its_manifest_grants(site: Site, kubeconfig: Path) -> None:
    async def scenario() -> None:
        async with (
            site.provider() as provider,
            site.kube() as kube,
            site.simulator_process("--metrics", kubeconfig=kubeconfig) as process,
        ):
            node = f"{site.name}-0"
            vm = await provider.ensure(intent_of(site, node, host=site.host(1)))
            await site.until_node(kube, node, is_ready)
            await provider.resize(vm.uuid, *site.larger)
            await site.until_node(kube, node, lambda found: found.status.capacity["cpu"] == "4")
            await until(site, lambda: _is_measured(kube, node), bool)
            await site.set_host(kube, 1, "Down")
            await site.until_node(kube, node, lambda found: not is_ready(found))
            await site.until_node(kube, node, is_ready)
            await provider.delete(vm.uuid, vm.owner_uid)
            await until(site, lambda: provider.describe(vm.uuid), lambda found: found is None)

            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(site.timeout):
                _, errors = await process.communicate()
            assert process.returncode == 0, errors
            assert b"ERROR" not in errors
            assert b"forbidden" not in errors
            with pytest.raises(NotFound):
                await kube.get(APISERVICES, APISERVICE)

    run(scenario(), timeout=120)


def test_what_keeps_it_from_serving_is_said(site: Site, control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        stranger = control_plane.kubeconfig_for("stranger")
        async with site.simulator_process("--metrics", kubeconfig=stranger) as process:
            async with asyncio.timeout(site.timeout):
                _, errors = await process.communicate()
            assert process.returncode == 1
            assert b"error: " in errors
            assert b"extension-apiserver-authentication" in errors

    run(scenario())


async def _is_measured(kube: Kube, node: str) -> bool:
    try:
        await kube.get(NODE_METRICS, node)
    except ApiError:
        return False
    return True
