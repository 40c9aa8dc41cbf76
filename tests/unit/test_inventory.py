"""What is said of a hypervisor's hosts, also while it is silent."""

from __future__ import annotations

import base64
from typing import Any

from aio import run
from plimsoll.act.inventory import HOSTS_UNKNOWN_AFTER, STATUS_EVERY, SWEEP_EVERY, Inventory
from plimsoll.act.providers import Providers
from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.hypervisor import Capabilities
from plimsoll.apierrors import NotFound
from plimsoll.hypervisors.contract import (
    HostInfo,
    Listing,
    PowerState,
    RateLimited,
    Retryable,
    VmInfo,
)
from plimsoll.kube import Json
from plimsoll.resources import Resource

GIB = 1024**3


class Rack:
    """A hypervisor with one host and one VM; it stands in for API server and memory, too."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.state: Any = "Up"
        self.host = "h1"
        self.error: Exception | None = None
        self.silent: tuple[str, ...] = ()
        self.sweeps: list[float] = []
        self.object: Json = {
            "metadata": {"name": "rack", "uid": "r", "generation": 1},
            "spec": {
                "provider": "simulated",
                "cpuOvercommitPercent": 200,
                "inventoryInterval": "10s",
                "simulated": {"hosts": [{"name": "h1", "cpu": 8, "memory": "16Gi"}]},
            },
        }
        self.secrets = {"login": "1"}
        """Name -> resourceVersion; the version is also its content."""
        self.connected: list[dict[str, bytes]] = []
        self.writes = 0
        self.reasons: list[str] = []
        self.woken: list[str] = []
        anyone: Any = self

        def connect(*arguments: Any) -> Any:
            self.connected.append(arguments[4])
            return anyone

        providers = Providers(anyone, "ours", "ns", connect, clock=lambda: self.now)
        self.inventory = Inventory(
            anyone,
            anyone,
            providers,
            anyone,
            wake=self.woken.append,
            orphan_grace=600.0,
            clock=lambda: self.now,
        )
        self.hypervisors = self.vmnodes = self.store = self

    def look(self, seconds: float = 10.0) -> float | None:
        self.now += seconds
        return run(self.inventory.look("rack"))

    @property
    def status(self) -> Json:
        status: Json = self.object["status"]
        return status

    def ready(self) -> tuple[str, str]:
        found = next(c for c in self.status["conditions"] if c["type"] == "Ready")
        return found["status"], found["reason"]

    # Memory

    def get(self, resource: Any, name: str, namespace: str | None = None) -> Any:
        if isinstance(resource, Resource):
            return self._secret(name)
        return Hypervisor.model_validate(self.object)

    async def _secret(self, name: str) -> Json:
        if name not in self.secrets:
            raise NotFound(404, "NotFound", name)
        version = self.secrets[name]
        content = base64.b64encode(version.encode()).decode()
        return {"metadata": {"resourceVersion": version}, "data": {"key": content}}

    def values(self) -> tuple[Any, ...]:
        record = {
            "metadata": {"name": "a-1", "uid": "uid-1"},
            "spec": {
                "pool": "a",
                "hypervisor": "rack",
                "size": {"cpu": 2, "memory": "4Gi"},
            },
            "status": {"identity": {"uuid": "vm-1"}, "host": "h1"},
        }
        return (VMNode.model_validate(record),)

    # API server

    async def patch_subresource(self, *arguments: Any, **_: Any) -> None:
        self.object["status"] = arguments[3]["status"]
        self.writes += 1

    # Recorder

    def record(self, about: Any, reason: Any, message: str, *, warning: bool = False) -> None:
        self.reasons.append(reason.value)

    # Provider

    def capabilities(self) -> Capabilities:
        return Capabilities(hot_add_cpu=True)

    async def hosts(self) -> tuple[HostInfo, ...]:
        if self.error:
            raise self.error
        return (
            HostInfo(
                name="h1",
                zone="z",
                cpu=8000,
                memory=16 * GIB,
                cpu_used=2000,
                memory_used=4 * GIB,
                state=self.state,
            ),
        )

    async def listing(self) -> Listing:
        return Listing(vms=self.vms(), silent=self.silent)

    def vms(self) -> tuple[VmInfo, ...]:
        return (
            VmInfo(
                uuid="vm-1",
                name="a-1",
                owner_uid="uid-1",
                cluster="ours",
                host=self.host,
                power=PowerState.RUNNING,
                cpu=2,
                memory=4 * GIB,
                provider_id="",
                created=0.0,
            ),
        )

    async def sweep(self, grace: float) -> tuple[str, ...]:
        self.sweeps.append(self.now)
        if self.error:
            raise self.error
        return (f"volume x after {grace:g} s",)

    async def close(self) -> None:
        pass


def test_hosts_are_written_with_overcommitment_and_counts() -> None:
    rack = Rack()
    assert rack.look() == 10.0
    (host,) = rack.status["hosts"]
    assert (host["cpu"], host["cpuUsed"], host["vms"], host["zone"]) == ("16", "2", 1, "z")
    assert rack.ready() == ("True", "Reachable")
    assert rack.status["capabilities"]["hotAddCpu"] is True


def test_a_status_in_which_only_the_time_is_new_is_written_seldom() -> None:
    rack = Rack()
    rack.look()
    for _ in range(int(STATUS_EVERY / 10) - 1):
        rack.look()
    assert rack.writes == 1
    rack.look()
    assert rack.writes == 2


def test_a_host_that_fails_is_dated_told_and_wakes_its_vms() -> None:
    rack = Rack()
    rack.look()
    before = rack.status["hosts"][0]["stateSince"]
    rack.woken.clear()
    rack.state = "Down"
    rack.look()
    assert rack.status["hosts"][0]["state"] == "Down"
    assert rack.status["hosts"][0]["stateSince"] > before
    assert "HostStateChanged" in rack.reasons
    assert rack.woken == ["a-1"]


def test_a_vm_that_moved_is_woken() -> None:
    rack = Rack()
    rack.look()
    assert rack.woken == ["a-1"]  # whatever happened before is news to us
    rack.woken.clear()
    rack.look()
    assert rack.woken == []
    rack.host = "h2"
    rack.look()
    assert rack.woken == ["a-1"]


def test_silence_keeps_what_was_known_for_a_while_and_then_believes_nothing() -> None:
    rack = Rack()
    rack.look()
    rack.error = Retryable("no route to host")
    rack.look()
    assert rack.ready() == ("False", "Unreachable")
    assert rack.status["hosts"][0]["state"] == "Up"
    assert rack.reasons == ["LeftoverRemoved", "HypervisorUnreachable"]
    rack.look(HOSTS_UNKNOWN_AFTER)
    assert rack.status["hosts"][0]["state"] == "Unknown"
    rack.error = None
    rack.look()
    assert rack.ready() == ("True", "Reachable")
    assert rack.status["hosts"][0]["state"] == "Up"
    assert "HypervisorReachable" in rack.reasons


def test_a_hypervisor_that_complains_is_asked_less() -> None:
    rack = Rack()
    rack.error = RateLimited("slow down")
    assert rack.look() == 50.0
    assert rack.ready() == ("False", "RateLimited")


def test_a_missing_secret_is_named_and_its_arrival_is_enough() -> None:
    rack = Rack()
    rack.object["spec"]["credentialsSecretRef"] = {"name": "other"}
    rack.look()
    assert rack.ready() == ("False", "SecretNotFound")
    rack.secrets["other"] = "1"
    rack.look()
    assert rack.ready() == ("True", "Reachable")


def test_a_changed_secret_makes_the_connection_anew() -> None:
    rack = Rack()
    rack.object["spec"]["credentialsSecretRef"] = {"name": "login"}
    rack.look()
    rack.look()
    rack.secrets["login"] = "2"
    rack.look()
    rack.look()
    assert rack.connected == [{"key": b"1"}, {"key": b"2"}]


def test_a_silent_host_is_named_while_the_others_are_believed() -> None:
    rack = Rack()
    rack.silent = ("h2",)
    rack.look()
    (ready,) = (c for c in rack.status["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Reachable")
    assert ready["message"].endswith("silent, so that nothing is known of it now: h2")
    assert rack.status["hosts"][0]["vms"] == 1


def test_leftovers_are_looked_for_now_and_then_and_their_removal_is_told() -> None:
    rack = Rack()
    for _ in range(int(SWEEP_EVERY / 10) * 2):
        rack.look()
    first, second = rack.sweeps
    assert second - first == SWEEP_EVERY
    assert rack.reasons.count("LeftoverRemoved") == 2
