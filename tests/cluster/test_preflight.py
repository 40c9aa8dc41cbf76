"""Started without its kinds or its permissions, the operator says exactly what is missing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll_testenv import ControlPlane
from stage import ENVIRONMENT, PLIMSOLL, prepare


@pytest.fixture(scope="module")
def bare() -> Iterator[ControlPlane]:
    """A cluster that has never heard of Plimsoll."""
    with ControlPlane.start() as control_plane:
        yield control_plane


def started(kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLIMSOLL, "run", "--kubeconfig", str(kubeconfig)],
        env={**os.environ, **ENVIRONMENT, "PLIMSOLL_LOG_FORMAT": "text"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_its_kinds(bare: ControlPlane) -> None:
    ended = started(bare.kubeconfig)
    assert ended.returncode == 1
    assert (
        "does not serve ContainerWorkload, Hypervisor, VMNode, VMPool of plimsoll.dev/v1alpha1: "
        "install the CRDs with: kubectl apply --server-side -f crds/" in ended.stderr
    )
    assert "namespace plimsoll-system does not exist" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_permissions(bare: ControlPlane) -> None:
    prepare(bare)
    ended = started(bare.kubeconfig_for("somebody"))
    assert ended.returncode == 1
    assert "not permitted: create pods/eviction" in ended.stderr
    assert "not permitted: get secrets in namespace plimsoll-system" in ended.stderr
    assert "kubectl apply -f manifests/rbac.yaml" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_one_permission(bare: ControlPlane) -> None:
    prepare(bare)
    someone = bare.kubeconfig_for("almost")
    bare.run_kubectl(
        *("create", "clusterrolebinding", "almost", "--clusterrole=plimsoll", "--user=almost")
    )
    ended = started(someone)
    assert ended.returncode == 1
    findings = [line for line in ended.stderr.splitlines() if "not permitted" in line]
    assert len(findings) == 3
    assert "create, delete secrets in namespace kube-system" in findings[0]
    assert "configmaps in namespace plimsoll-system" in findings[1]
    assert "secrets in namespace plimsoll-system" in findings[2]
