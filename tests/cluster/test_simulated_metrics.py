"""metrics.k8s.io of simulated containers, asked through the API server's aggregator."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from aio import run
from cluster.provider_contract import intent_of, until
from cluster.simulated_site import Site, is_ready, site_on
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.hypervisors.contract import Provider
from plimsoll.kube import ApiError, Invalid, Kube, NotFound
from plimsoll.resources import APISERVICES, NODE_METRICS, POD_METRICS, SERVICES
from plimsoll.simulator.aggregation import APISERVICE, Occupied
from plimsoll.simulator.load import LOAD
from plimsoll.simulator.metrics_server import SERVICE, serve_metrics
from plimsoll_testenv.control_plane import ControlPlane


@pytest.fixture
def site(control_plane: ControlPlane) -> Iterator[Site]:
    with site_on(control_plane) as fresh:
        yield fresh


@asynccontextmanager
async def measured(site: Site) -> AsyncIterator[tuple[Kube, Provider]]:
    """The site with its simulator running and its metrics served."""
    stop = asyncio.Event()
    async with site.connect() as provider, site.kube() as kube, asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(serve_metrics(kube, site.name, stop))
        try:
            await until(site, lambda: _is_available(kube), bool)
            yield kube, provider
        finally:
            stop.set()
            await serving


async def _is_available(kube: Kube) -> bool:
    try:
        found = await kube.get(APISERVICES, APISERVICE)
        await kube.list_all(NODE_METRICS)
    except ApiError:
        return False
    conditions = found["status"].get("conditions", ())
    return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)


def _deployment(site: Site, replicas: int, load: str) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": "none",
        "resources": {"requests": {"cpu": "200m", "memory": "100Mi"}, "limits": {"cpu": "600m"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": site.name, "annotations": {LOAD: load}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [container],
                    "nodeSelector": {"plimsoll.dev/hypervisor": site.name},
                    "automountServiceAccountToken": False,
                },
            },
        },
    }


async def _cpu(kube: Kube, site: Site, selector: str = "app=web") -> list[str]:
    pods = await kube.list_all(POD_METRICS, site.name, label_selector=selector)
    return [container["usage"]["cpu"] for pod in pods for container in pod["containers"]]


def test_load_is_measured_through_the_real_api(site: Site) -> None:
    async def scenario() -> None:
        async with measured(site) as (kube, provider):
            node = f"{site.name}-0"
            await provider.ensure(intent_of(site, node))
            await site.until_node(kube, node, is_ready)
            site.create(_deployment(site, 2, "cpu=1,memory=256Mi"))
            await until(site, lambda: _cpu(kube, site), lambda cpu: cpu == ["500m", "500m"])

            patch = {"metadata": {"annotations": {LOAD: "cpu=6,memory=256Mi"}}}
            site.kubectl(*("patch", "deployment", "web", "-n", site.name), "-p", json.dumps(patch))
            await until(site, lambda: _cpu(kube, site), lambda cpu: cpu == ["600m", "600m"])
            assert await _cpu(kube, site, "app in (other)") == []

            pod = (await kube.list_all(POD_METRICS, site.name))[0]
            name = pod["metadata"]["name"]
            assert pod["metadata"]["labels"]["app"] == "web"
            assert pod["containers"][0]["usage"]["memory"] == f"{128 * 1024}Ki"
            assert abs(parse_rfc3339(pod["timestamp"]) - time.time()) < 60
            one = await kube.get(POD_METRICS, name, site.name)
            assert one["containers"] == pod["containers"]

            measured_node = await kube.get(NODE_METRICS, node)
            assert measured_node["usage"]["cpu"] == "1250m"
            await asyncio.to_thread(_check_top, site, name, node)

    run(scenario())


def _check_top(site: Site, pod: str, node: str) -> None:
    pods = site.kubectl("top", "pods", "-n", site.name, "-l", "app=web", "--no-headers")
    assert [line.split()[1:] for line in pods.splitlines()] == [["600m", "128Mi"]] * 2
    assert pod in pods
    (cpu, percent) = site.kubectl("top", "node", node, "--no-headers").split()[1:3]
    assert (cpu, percent) == ("1250m", "65%")


def test_a_silent_node_and_its_pods_are_not_measured(site: Site) -> None:
    async def scenario() -> None:
        async with measured(site) as (kube, provider):
            node = f"{site.name}-0"
            vm = await provider.ensure(intent_of(site, node))
            await site.until_node(kube, node, is_ready)
            site.create(_deployment(site, 1, "cpu=500m"))
            await until(site, lambda: _cpu(kube, site), lambda cpu: cpu == ["500m"])
            await site.set_host(kube, 1 if vm.host == site.host(1) else 2, "Isolated")
            await until(site, lambda: _cpu(kube, site), lambda cpu: cpu == [])
            with pytest.raises(NotFound):
                await kube.get(NODE_METRICS, node)

    run(scenario())


def test_questions_that_make_no_sense_are_answered_as_such(site: Site) -> None:
    async def scenario() -> None:
        async with measured(site) as (kube, _):
            with pytest.raises(NotFound, match="no-such-pod"):
                await kube.get(POD_METRICS, "no-such-pod", site.name)
            with pytest.raises(Invalid, match="not a field to select by"):
                await kube.list_all(POD_METRICS, site.name, field_selector="spec.nodeName=x")
            with pytest.raises(Invalid, match="not a label selector"):
                await kube.raw(
                    "GET", POD_METRICS.path(site.name), query={"labelSelector": "a in b"}
                )
            with pytest.raises(ApiError, match="cannot be watched"):
                await kube.raw("GET", POD_METRICS.path(site.name), query={"watch": "1"})

    run(scenario())


def test_nobody_but_the_aggregator_is_answered(site: Site) -> None:
    async def scenario() -> None:
        async with measured(site) as (kube, _):
            service = (await kube.get(APISERVICES, APISERVICE))["spec"]["service"]
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            url = f"https://127.0.0.1:{service['port']}/apis/metrics.k8s.io/v1beta1/pods"
            async with aiohttp.ClientSession() as session:
                with pytest.raises(aiohttp.ClientError):
                    async with session.get(url, ssl=context) as answer:
                        await answer.read()

    run(scenario())


def test_users_need_the_right_to_read_metrics(site: Site, control_plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with (
            measured(site),
            Kube.from_environment(str(control_plane.kubeconfig_for("alice"))) as alice,
        ):
            with pytest.raises(ApiError, match="cannot list"):
                await alice.list_all(POD_METRICS, site.name)

    run(scenario())


def test_the_registration_is_taken_back_at_the_end(site: Site) -> None:
    async def scenario() -> None:
        async with measured(site):
            pass
        async with site.kube() as kube:
            for ask in (
                kube.get(APISERVICES, APISERVICE),
                kube.get(SERVICES, SERVICE, site.name),
            ):
                with pytest.raises(NotFound):
                    await ask

    run(scenario())


def test_another_metrics_server_is_not_pushed_out(site: Site) -> None:
    async def scenario() -> None:
        async with site.kube() as kube:
            foreign = {
                "apiVersion": "apiregistration.k8s.io/v1",
                "kind": "APIService",
                "metadata": {"name": APISERVICE},
                "spec": {
                    "group": "metrics.k8s.io",
                    "version": "v1beta1",
                    "groupPriorityMinimum": 100,
                    "versionPriority": 100,
                    "insecureSkipTLSVerify": True,
                    "service": {"name": "metrics-server", "namespace": "kube-system"},
                },
            }
            await kube.create(foreign)
            try:
                with pytest.RaisesGroup(pytest.RaisesExc(Occupied, match="kube-system/metrics")):
                    await serve_metrics(kube, site.name, asyncio.Event())
                found = await kube.get(APISERVICES, APISERVICE)
                assert found["spec"]["service"]["name"] == "metrics-server"
            finally:
                await kube.delete(APISERVICES, APISERVICE)

    run(scenario())
