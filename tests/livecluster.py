"""Preparations that tests against a real API server share."""

from __future__ import annotations

import asyncio
from pathlib import Path

from plimsoll.kube import Kube, NotFound
from plimsoll_testenv import ControlPlane

CRDS = Path(__file__).parents[1] / "crds"


async def ensure_namespace(kube: Kube, name: str) -> None:
    """A namespace in which pods may be created: with its service account."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    await kube.apply(namespace, "tests")
    async with asyncio.timeout(30):
        while True:
            try:
                await kube.raw("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default")
            except NotFound:
                await asyncio.sleep(0.1)
            else:
                return


def install_kinds(control_plane: ControlPlane) -> None:
    """Plimsoll's own kinds, served."""
    control_plane.run_kubectl("apply", "-f", str(CRDS))
    control_plane.run_kubectl(
        "wait", "--for=condition=Established", "--timeout=30s", "-f", str(CRDS)
    )
