"""The client's own promises: typed errors, bounded time, no hidden repetition."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import aio
from faulty_api import FaultyApi, status, write_kubeconfig
from plimsoll import kube as k
from plimsoll.kube import ApiError, Kube
from plimsoll.resources import NODES, PODS, VMPOOLS, Resource, resource_of

Call = Callable[[Kube], Awaitable[Any]]


def asking(api: FaultyApi, folder: Path, call: Call) -> Any:
    """What one call gives against the faulty server."""

    async def scenario() -> Any:
        async with api.serve(folder) as kubeconfig, Kube.from_environment(kubeconfig) as kube:
            return await call(kube)

    return aio.run(scenario())


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (400, "BadRequest", k.Invalid),
        (401, "Unauthorized", k.Unauthorized),
        (403, "Forbidden", k.Forbidden),
        (404, "NotFound", k.NotFound),
        (409, "AlreadyExists", k.AlreadyExists),
        (409, "Conflict", k.Conflict),
        (410, "Expired", k.Gone),
        (422, "Invalid", k.Invalid),
        (429, "TooManyRequests", k.TooManyRequests),
        (500, "InternalError", ApiError),
        (500, "ServerTimeout", k.Unreachable),
        (503, "ServiceUnavailable", k.Unreachable),
        (504, "Timeout", k.Unreachable),
    ],
)
def test_failures_are_typed_and_say_what_was_asked(
    tmp_path: Path, code: int, reason: str, error: type[ApiError]
) -> None:
    api = FaultyApi()
    cause = {"reason": "FieldValueInvalid", "field": "spec.x", "message": "too small"}
    api.answers.append(status(code, reason, "no luck", causes=[cause]))
    with pytest.raises(ApiError, match="GET /api/v1/nodes/n1: no luck") as caught:
        asking(api, tmp_path, lambda kube: kube.get(NODES, "n1"))
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.reason) == (code, reason)
    assert caught.value.causes == (("FieldValueInvalid", "spec.x", "too small"),)


def test_no_answer_means_nothing_is_known(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")

    async def scenario() -> None:
        async with Kube(kubeconfig) as kube:
            with pytest.raises(k.Unreachable) as caught:
                await kube.get(NODES, "n1")
            assert caught.value.status == 0

    aio.run(scenario())


def test_a_request_is_bounded_in_time(tmp_path: Path) -> None:
    api = FaultyApi()
    api.deaf = True
    path = "/api/v1/pods?watch=true&resourceVersion=1"  # a request that never ends
    with pytest.raises(k.Unreachable) as caught:
        asking(api, tmp_path, lambda kube: kube.raw("GET", path, timeout=0.1))
    assert caught.value.reason == "Timeout"


def test_a_busy_server_is_asked_again_when_it_says_so(tmp_path: Path) -> None:
    api = FaultyApi()
    api.put("a")
    busy = {"code": 429, "reason": "TooManyRequests", "message": "busy"}
    for _ in range(3):
        api.answers.append(status(**busy, headers={"Retry-After": "0"}))  # type: ignore[arg-type]
    assert len(asking(api, tmp_path, lambda kube: kube.list_all(PODS))) == 1
    assert len(api.requests) == 4


def test_a_busy_server_is_not_asked_for_ever(tmp_path: Path) -> None:
    api = FaultyApi()
    for _ in range(10):
        api.answers.append(status(429, "TooManyRequests", "busy", {"Retry-After": "0"}))
    with pytest.raises(k.TooManyRequests):
        asking(api, tmp_path, lambda kube: kube.list_all(PODS))
    assert len(api.requests) == 4


def test_an_eviction_that_a_budget_refuses_is_never_repeated(tmp_path: Path) -> None:
    api = FaultyApi()
    api.answers.append(status(429, "TooManyRequests", "budget", {"Retry-After": "0"}))
    with pytest.raises(k.TooManyRequests):
        asking(api, tmp_path, lambda kube: kube.evict("p", "ns", "uid-1"))
    assert len(api.requests) == 1
    assert api.requests[0].path == "/api/v1/namespaces/ns/pods/p/eviction"
    assert json.loads(api.bodies[0])["deleteOptions"] == {"preconditions": {"uid": "uid-1"}}


def test_other_failures_are_never_repeated(tmp_path: Path) -> None:
    api = FaultyApi()
    api.answers.append(status(503, "ServiceUnavailable", "starting"))
    with pytest.raises(k.Unreachable):
        asking(api, tmp_path, lambda kube: kube.get(NODES, "n1"))
    assert len(api.requests) == 1


def test_an_answer_that_is_no_json_is_an_error_of_ours(tmp_path: Path) -> None:
    api = FaultyApi()
    api.answers.append(status(200, "", ""))
    with pytest.raises(ApiError, match="cannot be read") as caught:
        asking(api, tmp_path, lambda kube: kube.get(NODES, "n1", type=list[int]))
    assert caught.value.reason == "Undecodable"


def test_no_cluster_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))

    async def enter() -> None:
        async with Kube.from_environment():
            pass

    with pytest.raises(k.NoCluster, match=r"absent does not exist.*set KUBECONFIG"):
        aio.run(enter())


@pytest.mark.parametrize("text", ["", "{", "[]", "apiVersion: v1", "current-context: x"])
def test_a_malformed_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken"
    path.write_text(text)

    async def enter() -> None:
        async with Kube.from_environment(str(path)):
            pass

    with pytest.raises(k.NoCluster, match=str(path)):
        aio.run(enter())


def test_paths() -> None:
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("ns", "p", "resize") == "/api/v1/namespaces/ns/pods/p/resize"
    assert VMPOOLS.path(name="web") == "/apis/plimsoll.dev/v1alpha1/vmpools/web"
    with pytest.raises(ValueError, match="namespace is missing"):
        PODS.path(name="p")
    with pytest.raises(ValueError, match="cluster-scoped"):
        NODES.path("ns", "n")


def test_resources_are_found_by_kind() -> None:
    found: Resource = resource_of({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "VMPool"})
    assert found is VMPOOLS
    with pytest.raises(ValueError, match="no known resource"):
        resource_of({"apiVersion": "v1", "kind": "Teapot"})
