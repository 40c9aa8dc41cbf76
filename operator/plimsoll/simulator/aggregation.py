"""Registering the metrics server at the API server's aggregator, and knowing the latter."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from plimsoll.api import labels
from plimsoll.kube import ApiError, Conflict, Json, Kube, NotFound
from plimsoll.resources import APISERVICES, CONFIGMAPS, SERVICES
from plimsoll.simulator.records import MANAGED_BY

log = logging.getLogger(__name__)

APISERVICE: Final = "v1beta1.metrics.k8s.io"
_FRONT_PROXY: Final = ("extension-apiserver-authentication", "kube-system")


class Occupied(Exception):
    """Another metrics server is registered; two cannot be."""


class FrontProxy(NamedTuple):
    """How the aggregator proves itself to the servers behind it."""

    ca: str
    """PEM of the CA of its client certificate."""
    names: tuple[str, ...]
    """Common names that the certificate may have; empty: any."""

    def admits(self, certificate: Mapping[str, Any]) -> bool:
        """Whether a verified peer certificate (as ``ssl`` gives it) is the aggregator's."""
        subject = [pair for group in certificate.get("subject", ()) for pair in group]
        common = {value for key, value in subject if key == "commonName"}
        return bool(certificate) and (not self.names or bool(common & set(self.names)))


async def front_proxy(kube: Kube) -> FrontProxy:
    """What the API server publishes of its aggregator.

    Raises:
        NotFound: it has none, so that no API can be added to it.
    """
    name, namespace = _FRONT_PROXY
    data = (await kube.get(CONFIGMAPS, name, namespace)).get("data", {})
    ca = data.get("requestheader-client-ca-file")
    if not ca:
        raise NotFound(
            404,
            "NotFound",
            f"ConfigMap {namespace}/{name} has no requestheader-client-ca-file: the API server "
            "runs without an aggregation layer, so metrics cannot be served through it",
        )
    return FrontProxy(ca, tuple(json.loads(data.get("requestheader-allowed-names") or "[]")))


async def register(
    kube: Kube, service: str, namespace: str, address: str, port: int, certificate: str
) -> None:
    """Points the metrics API at ``address:port``, whose certificate (PEM) is given.

    Raises:
        Occupied: somebody else's metrics server is registered.
    """
    try:
        found = await kube.get(APISERVICES, APISERVICE)
    except NotFound:
        pass
    else:
        if not _ours(found):
            served_by = found["spec"].get("service") or {}
            raise Occupied(
                f"APIService {APISERVICE} is already served by "
                f"{served_by.get('namespace')}/{served_by.get('name')}: remove that metrics "
                "server, or simulate without metrics"
            )
    metadata = {"labels": {labels.MANAGED_BY: MANAGED_BY}}
    await kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "namespace": namespace, **metadata},
            "spec": {"type": "ExternalName", "externalName": address},
        },
        MANAGED_BY,
        force=True,
    )
    await kube.apply(
        {
            "apiVersion": APISERVICES.api_version,
            "kind": "APIService",
            "metadata": {"name": APISERVICE, **metadata},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": service, "namespace": namespace, "port": port},
                "caBundle": _bundle(certificate),
            },
        },
        MANAGED_BY,
        force=True,
    )


async def unregister(kube: Kube, service: str, namespace: str, certificate: str) -> None:
    """Takes the registration back, unless another process has taken it over meanwhile."""
    try:
        found = await kube.get(APISERVICES, APISERVICE)
        if not _ours(found) or found["spec"].get("caBundle") != _bundle(certificate):
            return
        await kube.delete(APISERVICES, APISERVICE, uid=found["metadata"]["uid"])
        await kube.delete(SERVICES, service, namespace)
    except (NotFound, Conflict):
        return
    except ApiError as error:
        log.warning("the metrics API stays registered: %s", error)


def _ours(apiservice: Json) -> bool:
    found: Any = apiservice["metadata"].get("labels") or {}
    return bool(found.get(labels.MANAGED_BY) == MANAGED_BY)


def _bundle(certificate: str) -> str:
    return base64.b64encode(certificate.encode()).decode()
