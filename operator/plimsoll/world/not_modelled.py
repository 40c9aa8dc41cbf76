"""The rules that the planner does not know, all of them.

A pod that has one is reported as ``NotModelled`` and never placed by guess. The list for
readers is docs/concepts/not-modelled.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from plimsoll.world.wire import PersistentVolume, PodSpec, Volume

_SHARED_DISKS: Final = ("gce_persistent_disk", "aws_elastic_block_store", "iscsi", "rbd")
"""Disks of which kube-scheduler's VolumeRestrictions keeps certain pairs of pods apart."""
_MIGRATED: Final = (
    "gce_persistent_disk",
    "aws_elastic_block_store",
    "azure_disk",
    "azure_file",
    "cinder",
    "portworx_volume",
    "vsphere_volume",
)
"""Volumes of drivers that Kubernetes once had built in, and translates to CSI ones."""
_MIGRATED_PROVISIONERS: Final = frozenset(
    f"kubernetes.io/{name}"
    for name in (
        "gce-pd",
        "aws-ebs",
        "azure-disk",
        "azure-file",
        "cinder",
        "portworx-volume",
        "vsphere-volume",
    )
)
_BUILT_IN: Final = "a driver once built into Kubernetes, whose volumes are translated"


def of_spec(spec: PodSpec) -> tuple[str, ...]:
    """What of a pod is not modelled, besides its claims."""
    found = []
    containers = (*spec.containers, *spec.init_containers)
    if spec.scheduler_name not in ("", "default-scheduler"):
        found.append(f"scheduler {spec.scheduler_name}")
    if spec.resource_claims or any(c.resources.claims for c in containers):
        found.append("resource claims (dynamic resource allocation)")
    if spec.scheduling_group is not None:
        found.append("scheduling group (all of its pods together or none)")
    # Only nodes that declare these features take such pods (NodeDeclaredFeatures).
    if spec.host_network and spec.host_users is False:
        found.append("a user namespace on the host's network")
    if any(r.action == "RestartAllContainers" for c in containers for r in c.restart_policy_rules):
        found.append("restart rule RestartAllContainers")
    return (*found, *of_volumes(spec.volumes))


def of_volumes(volumes: Iterable[Volume]) -> tuple[str, ...]:
    """Volumes that bind a pod to nodes, or apart from other pods, in ways that are not modelled."""
    found = []
    for volume in volumes:
        if any(getattr(volume, disk) is not None for disk in _SHARED_DISKS):
            found.append(f"volume {volume.name} (a disk that only some pods may share)")
        elif any(getattr(volume, disk) is not None for disk in _MIGRATED):
            found.append(f"volume {volume.name} ({_BUILT_IN})")
    return tuple(found)


def of_persistent_volume(volume: PersistentVolume) -> str:
    """Why a PersistentVolume is not modelled; empty: it is."""
    if any(getattr(volume.spec, disk) is not None for disk in _MIGRATED):
        return f"PersistentVolume {volume.metadata.name} ({_BUILT_IN})"
    return ""


def of_provisioner(storage_class: str, provisioner: str) -> str:
    """Why volumes that are yet to be provisioned are not modelled; empty: they are."""
    if provisioner in _MIGRATED_PROVISIONERS:
        return f"StorageClass {storage_class} ({_BUILT_IN})"
    return ""


def of_absent(kind: str, name: str) -> str:
    """An object that files do not hold, nor any other of its kind."""
    return f"{kind} {name} (the files hold no {kind}: add them to the dump)"
