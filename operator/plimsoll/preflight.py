"""Before anything starts: is all there that the operator needs, and may it do what it must?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from plimsoll.api import KINDS
from plimsoll.api.base import API_VERSION
from plimsoll.apierrors import ApiError, NotFound
from plimsoll.kube import Kube, decode
from plimsoll.permissions import CLUSTER, OWN_NAMESPACE, TOKENS, TOKENS_NAMESPACE, Permission
from plimsoll.resources import NAMESPACES, SELFSUBJECTACCESSREVIEWS

log = logging.getLogger(__name__)

_CONCURRENCY: Final = 16


class _Served(msgspec.Struct):
    kind: str = ""


class _ServedList(msgspec.Struct):
    resources: list[_Served] = []


class PreflightError(Exception):
    """What is missing, one finding a line, each with the command that mends it."""

    def __init__(self, findings: Iterable[str]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(self.findings))


async def check(kube: Kube, namespace: str) -> None:
    """Looks for the kinds, the operator's namespace and every permission.

    Raises:
        PreflightError: something is missing.
        ApiError: the API server cannot be asked.
    """
    findings = [*await _kinds(kube), *await _namespace(kube, namespace)]
    findings += await _permissions(kube, namespace)
    if findings:
        raise PreflightError(findings)


async def _kinds(kube: Kube) -> list[str]:
    wanted = {kind.__name__ for kind in KINDS}
    try:
        served = decode(await kube.raw("GET", f"/apis/{API_VERSION}"), _ServedList)
        found = {resource.kind for resource in served.resources}
    except NotFound:
        found = set()
    missing = sorted(wanted - found)
    if not missing:
        return []
    return [
        f"the API server does not serve {', '.join(missing)} of {API_VERSION}: "
        "install the CRDs with: kubectl apply --server-side -f crds/"
    ]


async def _namespace(kube: Kube, name: str) -> list[str]:
    try:
        await kube.get(NAMESPACES, name)
    except NotFound:
        return [f"namespace {name} does not exist: create it with: kubectl create namespace {name}"]
    except ApiError as error:
        log.info("cannot look at namespace %s: %s", name, error, extra={"object": name})
    return []


async def _permissions(kube: Kube, namespace: str) -> list[str]:
    limit = asyncio.Semaphore(_CONCURRENCY)
    wanted = [
        (permission, verb, name, where)
        for permissions, where in (
            (CLUSTER, ""),
            (TOKENS, TOKENS_NAMESPACE),
            (OWN_NAMESPACE, namespace),
        )
        for permission in permissions
        for verb in permission.verbs
        for name in permission.names or ("",)
    ]
    allowed = await asyncio.gather(*(_allowed(kube, limit, *ask) for ask in wanted))
    denied: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for (permission, verb, name, where), yes in zip(wanted, allowed, strict=True):
        if not yes:
            key = (permission.group, permission.resource, where)
            denied.setdefault(key, {}).setdefault(verb, []).append(name)
    if not denied:
        return []
    lines = [
        f"not permitted: {Permission(group, resource, tuple(verbs), _named(verbs))}"
        + (f" in namespace {where}" if where else "")
        for (group, resource, where), verbs in denied.items()
    ]
    return [*lines, "grant these with: kubectl apply -f manifests/rbac.yaml"]


def _named(verbs: dict[str, list[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in verbs.values() for name in names if name}))


async def _allowed(
    kube: Kube,
    limit: asyncio.Semaphore,
    permission: Permission,
    verb: str,
    name: str,
    namespace: str,
) -> bool:
    resource, _, subresource = permission.resource.partition("/")
    review = {
        "apiVersion": SELFSUBJECTACCESSREVIEWS.api_version,
        "kind": SELFSUBJECTACCESSREVIEWS.kind,
        "spec": {
            "resourceAttributes": {
                "group": permission.group,
                "resource": resource,
                "subresource": subresource,
                "verb": verb,
                "name": name,
                "namespace": namespace,
            }
        },
    }
    async with limit:
        answer = await kube.create(review)
    return bool(answer["status"].get("allowed"))
