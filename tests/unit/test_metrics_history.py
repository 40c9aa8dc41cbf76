"""What was not measured is not zero: the history behind a workload's demand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

import aio
from faulty_api import FaultyApi, status
from plimsoll.api import ContainerWorkload
from plimsoll.api.timestamp import rfc3339
from plimsoll.kube import Kube
from plimsoll.world import wire
from plimsoll.world.metrics import Metrics, running
from plimsoll.world.objects import Objects
from plimsoll.world.snapshot import Resources
from plimsoll.world.usage import Measured, Replica, Running, Usage

SETTLING = 30.0
STALE = 60.0
NOW = 1_000_000.0


def replica(name: str = "p", started: float = 0.0) -> Replica:
    return Replica(f"ns/{name}", "app", started)


def use(cpu: int, at: float, name: str = "p") -> dict[tuple[str, str], Measured]:
    return {(f"ns/{name}", "app"): Measured(cpu, cpu * 1000, at)}


@dataclass(frozen=True)
class Round:
    """One round of measurements, drawn at random."""

    now: float
    replicas: tuple[Replica, ...]
    measured: dict[tuple[str, str], Measured]

    def total(self) -> tuple[int | None, bool]:
        """The oracle: what is known of the sum of CPU in this round, and whether it is all."""
        good: list[Measured] = []
        complete = True
        for one in self.replicas:
            part = self.measured.get((one.pod, one.container))
            fresh = part is not None and one.started <= part.at >= self.now - STALE
            if part is not None and fresh:
                good.append(part)
            elif one.started < self.now - SETTLING:
                complete = False
        return (sum(part.cpu for part in good) if good else None), complete


@st.composite
def rounds(draw: st.DrawFn) -> list[Round]:
    now, result = NOW, []
    ages = st.integers(0, 120)
    for _ in range(draw(st.integers(1, 12))):
        now += draw(st.integers(0, 100))
        names = draw(st.sets(st.sampled_from("abc")))
        result.append(
            Round(
                now,
                tuple(replica(name, now - draw(ages)) for name in sorted(names)),
                {
                    (f"ns/{name}", "app"): Measured(draw(st.integers(0, 999)), 5, now - draw(ages))
                    for name in draw(st.sets(st.sampled_from("abcd")))
                },
            )
        )
    return result


@given(rounds=rounds(), window=st.integers(0, 300).map(float))
def test_demand_is_the_sum_of_what_was_measured_and_watched_only_where_that_is_all(
    rounds: list[Round], window: float
) -> None:
    usage = Usage(SETTLING, STALE)
    known: list[tuple[float, int, bool]] = []
    for one in rounds:
        usage.observe(one.now, {"ns/w": Running(window, one.replicas)}, one.measured)
        demand = usage.demands(one.now).get("ns/w")
        total, complete = one.total()
        assert (demand.cpu if demand else None) == total
        if demand is None or total is None:
            continue
        known.append((one.now, total, complete))
        assert demand.peak_cpu == max(cpu for at, cpu, _ in known if at >= one.now - window)
        assert demand.window_full == (unbroken_since(known) <= one.now - window)
        assert demand.at == min(
            part.at
            for key, part in one.measured.items()
            for r in one.replicas
            if (r.pod, r.container) == key and r.started <= part.at >= one.now - STALE
        )


def unbroken_since(known: list[tuple[float, int, bool]]) -> float:
    """The oracle: since when rounds in which all was measured followed without a gap."""
    since = known[-1][0] if known[-1][2] else float("inf")
    for at, _, complete in reversed(known):
        if not complete or since - at > STALE:
            break
        since = at
    return since


def test_one_replica_without_metrics_holds_back_scaling_down_only() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW + 300, window=300.0, cpu=100)
    both = Running(300.0, (replica(), replica("silent")))
    usage.observe(NOW + 310, {"ns/w": both}, use(900, NOW + 310))
    demand = usage.demands(NOW + 310)["ns/w"]
    assert (demand.cpu, demand.window_full) == (900, False)
    watched(usage, NOW + 320, NOW + 610, window=300.0)
    assert not usage.demands(NOW + 610)["ns/w"].window_full
    watched(usage, NOW + 620, NOW + 620, window=300.0)
    assert usage.demands(NOW + 620)["ns/w"].window_full


def watched(usage: Usage, start: float, end: float, window: float, cpu: int = 100) -> None:
    for now in range(int(start), int(end) + 1, 10):
        usage.observe(now, {"ns/w": Running(window, (replica(),))}, use(cpu, now))


def test_the_window_is_full_after_it_has_been_watched() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW + 290, window=300.0)
    assert not usage.demands(NOW + 290)["ns/w"].window_full
    watched(usage, NOW + 300, NOW + 300, window=300.0)
    assert usage.demands(NOW + 300)["ns/w"].window_full


def test_an_outage_of_the_metrics_starts_the_window_again_but_forgets_no_peak() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW + 300, window=300.0, cpu=900)
    watched(usage, NOW + 400, NOW + 400, window=300.0, cpu=100)
    demand = usage.demands(NOW + 400)["ns/w"]
    assert not demand.window_full
    assert (demand.cpu, demand.peak_cpu, demand.peak_memory) == (100, 900, 900_000)


def test_a_window_that_is_lengthened_is_not_full() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW + 600, window=60.0)
    assert usage.demands(NOW + 600)["ns/w"].window_full
    watched(usage, NOW + 610, NOW + 610, window=300.0)
    assert not usage.demands(NOW + 610)["ns/w"].window_full


def test_what_is_known_grows_stale_when_nothing_more_is_measured() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW, window=0.0)
    assert usage.demands(NOW + STALE)["ns/w"].cpu == 100
    assert usage.demands(NOW + STALE + 1) == {}


def test_a_workload_that_is_gone_is_forgotten() -> None:
    usage = Usage(SETTLING, STALE)
    watched(usage, NOW, NOW + 300, window=60.0)
    usage.observe(NOW + 310, {}, {})
    watched(usage, NOW + 320, NOW + 320, window=60.0)
    assert not usage.demands(NOW + 320)["ns/w"].window_full


# Whose pods are whose


def workload(name: str = "web", container: str = "") -> ContainerWorkload:
    return ContainerWorkload.model_validate(
        {
            "metadata": {"name": name, "namespace": "ns"},
            "spec": {
                "targetRef": {"kind": "StatefulSet", "name": name},
                "scaleOut": {"min": 1, "max": 5},
                "scaleUp": {
                    "cpu": {"min": "100m", "max": "1"},
                    "memory": {"min": "64Mi", "max": "1Gi"},
                    "container": container,
                },
                "scaleDownAfter": "2m",
            },
        }
    )


def pod(name: str, phase: str = "Running", owner: str = "web", **meta: Any) -> wire.Pod:
    return msgspec.convert(
        {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "ownerReferences": [{"kind": "StatefulSet", "name": owner, "controller": True}],
                **meta,
            },
            "spec": {"containers": [{"name": "app"}, {"name": "proxy"}]},
            "status": {"phase": phase, "startTime": rfc3339(NOW)},
        },
        wire.Pod,
    )


def test_only_running_pods_of_the_workload_count() -> None:
    objects = Objects(
        workloads=(workload(),),
        pods=(
            pod("web-0"),
            pod("web-1", phase="Pending"),
            pod("web-2", deletionTimestamp=rfc3339(NOW)),
            pod("other-0", owner="other"),
        ),
    )
    assert running(objects) == {"ns/web": Running(120.0, (Replica("ns/web-0", "app", NOW),))}


def test_the_steered_container_is_measured() -> None:
    objects = Objects(workloads=(workload(container="proxy"),), pods=(pod("web-0"),))
    assert running(objects)["ns/web"].replicas[0].container == "proxy"


# Polling


def pod_metrics(name: str, at: float, **containers: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns"},
        "timestamp": rfc3339(at),
        "containers": [{"name": key, "usage": usage} for key, usage in containers.items()],
    }


def node_metrics(name: str, at: float, **usage: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "timestamp": rfc3339(at), "usage": usage}


def answer(api: FaultyApi, pods: list[Any], nodes: list[Any]) -> None:
    for items in (pods, nodes):
        api.answers.append(web.json_response({"metadata": {}, "items": items}))


def test_a_poll_reads_pods_and_nodes_and_skips_what_it_cannot_read(tmp_path: Path) -> None:
    api = FaultyApi()
    objects = Objects(workloads=(workload(),), pods=(pod("web-0"),))
    at = NOW + 100
    answer(
        api,
        [
            {"metadata": {"name": "odd", "namespace": "ns"}, "timestamp": "yesterday"},
            pod_metrics("odd-1", at, app={"cpu": "many", "memory": "1"}),
            pod_metrics(
                "web-0",
                at,
                app={"cpu": "250500000n", "memory": "1Mi"},
                proxy={"cpu": "1", "memory": "1Gi"},
            ),
        ],
        [
            node_metrics("n1", at, cpu="1500m", memory="2Gi"),
            node_metrics("old", at - 91, cpu="1", memory="1Gi"),
            node_metrics("half", at, cpu="1"),
        ],
    )
    polled: list[int] = []

    async def scenario() -> None:
        async with api.serve(tmp_path) as kubeconfig, Kube(kubeconfig) as kube:
            metrics = Metrics(kube, lambda: objects, clock=lambda: at)
            metrics.on_measured(lambda: polled.append(1))
            await metrics.poll()
            assert metrics.problem == ""
            assert polled == [1]
            demand = metrics.demands()["ns/web"]
            assert (demand.cpu, demand.memory, demand.at) == (251, 2**20, at)
            assert metrics.node_usage() == {"n1": Resources(cpu=1500, memory=2 * 2**30)}

    aio.run(scenario())


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (404, "NotFound", "install a metrics server"),
        (403, "Forbidden", "not for you"),
        (503, "ServiceUnavailable", "not for you"),
    ],
)
def test_without_the_metrics_api_nothing_is_known_and_the_reason_is_said(
    tmp_path: Path, code: int, reason: str, words: str
) -> None:
    api = FaultyApi()
    now = NOW + 100
    objects = Objects(workloads=(workload(),), pods=(pod("web-0"),))
    answer(api, [pod_metrics("web-0", now, app={"cpu": "1", "memory": "1Mi"})], [])
    api.answers.append(status(code, reason, "not for you"))

    async def scenario() -> None:
        nonlocal now
        async with api.serve(tmp_path) as kubeconfig, Kube(kubeconfig) as kube:
            metrics = Metrics(kube, lambda: objects, clock=lambda: now)
            await metrics.poll()
            assert metrics.demands()["ns/web"].cpu == 1000
            await metrics.poll()
            assert words in metrics.problem
            assert metrics.demands()["ns/web"].cpu == 1000, "not yet stale"
            now += 91
            assert metrics.demands() == {}

    aio.run(scenario())
