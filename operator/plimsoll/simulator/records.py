"""How the simulated hypervisor keeps a VM: one ConfigMap each, JSON in its ``data``.

The provider (on behalf of the operator) and the physics (on behalf of nature)
both write these records, each with the resourceVersion that it read as a
precondition.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

from plimsoll.api import labels
from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import PowerState
from plimsoll.world.wire import Meta, Object

HYPERVISOR_LABEL: Final = "plimsoll.dev/simulated-hypervisor"
"""On the record of a VM: the Hypervisor that it lives at."""
UUID_LABEL: Final = "plimsoll.dev/simulated-uuid"
LEDGER_LABEL: Final = "plimsoll.dev/simulated-ledger"
MANAGED_BY: Final = "plimsoll-simulator"
_DATA_KEY: Final = "vm"


class VmRecord(Frozen, frozen=True, kw_only=True):
    """One simulated VM. CPU in virtual CPUs, memory in bytes, times in seconds (epoch)."""

    uuid: str
    name: str
    owner_uid: str
    """UID of the VMNode that it was made for."""
    cluster: str
    hypervisor: str
    pool: str
    host: str
    power: PowerState
    cpu: int
    """As the guest sees it."""
    memory: int
    wanted_cpu: int
    """As asked for; differs from ``cpu`` while hot-add is under way."""
    wanted_memory: int
    created: float
    due: float = 0.0
    """When what is under way completes; 0: nothing is."""
    registered: bool = False
    """Since it last booted, its node has been registered."""
    reserved_cpu: int = 0
    """Millicores kept back from pods."""
    reserved_memory: int = 0
    max_pods: int = 110
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    taints: tuple[tuple[str, str, str], ...] = ()

    @property
    def claimed_cpu(self) -> int:
        """Virtual CPUs that its host must keep for it."""
        return max(self.cpu, self.wanted_cpu)

    @property
    def claimed_memory(self) -> int:
        """Bytes that its host must keep for it."""
        return max(self.memory, self.wanted_memory)

    @property
    def provider_id(self) -> str:
        """The node's ``spec.providerID``."""
        return f"{provider_prefix(self.hypervisor)}{self.uuid}"


class StoredVm(Frozen, frozen=True, kw_only=True):
    """A VM with the metadata of the ConfigMap that it was read from."""

    metadata: Meta
    vm: VmRecord


class Damaged(ValueError):
    """A ConfigMap is marked as the record of a VM, but cannot be read as one."""


def provider_prefix(hypervisor: str) -> str:
    """What every providerID of this hypervisor begins with."""
    return f"simulated://{hypervisor}/"


def record_name(owner_uid: str) -> str:
    """Name of the ConfigMap that keeps the VM of this VMNode."""
    return f"vm-{owner_uid}"


def label_value(name: str) -> str:
    """A name as a label value; what is longer than 63 characters is cut and told apart by hash."""
    if len(name) <= 63:
        return name
    return f"{name[:50]}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def to_configmap(vm: VmRecord, namespace: str) -> dict[str, Any]:
    """The ConfigMap that keeps this VM."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record_name(vm.owner_uid),
            "namespace": namespace,
            "labels": {
                labels.MANAGED_BY: MANAGED_BY,
                HYPERVISOR_LABEL: label_value(vm.hypervisor),
                UUID_LABEL: vm.uuid,
            },
        },
        "data": to_data(vm),
    }


def to_data(vm: VmRecord) -> dict[str, str]:
    """The ``data`` of the ConfigMap that keeps this VM."""
    return {_DATA_KEY: msgspec.json.encode(vm).decode()}


class RawRecord(Object, frozen=True, kw_only=True):
    """The part of a ConfigMap that is read here."""

    data: dict[str, str] = {}


def decode_record(raw: bytes | msgspec.Raw) -> StoredVm:
    """The VM that a ConfigMap keeps, from its JSON; raises as ``from_configmap`` does."""
    return from_configmap(msgspec.json.decode(raw, type=RawRecord))


def from_configmap(configmap: RawRecord) -> StoredVm:
    """The VM that this ConfigMap keeps.

    Raises:
        Damaged: it keeps none, or not in this form.
    """
    try:
        vm = msgspec.json.decode(configmap.data[_DATA_KEY], type=VmRecord)
    except (KeyError, msgspec.MsgspecError) as error:
        raise Damaged(
            f"ConfigMap {configmap.metadata.name} does not hold a simulated VM in"
            f" data.{_DATA_KEY}: {error!r}"
        ) from error
    return StoredVm(metadata=configmap.metadata, vm=vm)
