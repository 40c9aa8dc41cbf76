"""The documents that acting sends: objects to create and fields to patch. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plimsoll.api import VMPool, labels
from plimsoll.api.common import API_VERSION
from plimsoll.api.quantity import format_bytes, format_milli, parse_bytes, parse_milli
from plimsoll.api.vmnode import Size as VmSize
from plimsoll.api.vmnode import VMNodeSpec
from plimsoll.decide.plan import NewVm, Size
from plimsoll.world import wire

if TYPE_CHECKING:
    # `plimsoll plan` works with these documents too, and starts without a client.
    from plimsoll.kube import Json

_PARSE: Final = {"cpu": parse_milli, "memory": parse_bytes}
_FORMAT: Final = {"cpu": format_milli, "memory": format_bytes}


def vmnode(vm: NewVm, pool: VMPool) -> Json:
    """The VMNode that records the intent to have this VM.

    The finalizer is there from the first moment, so that nobody can delete the
    record while its VM exists. The pool owns it: whoever removes the pool by
    force still gets its VMs drained and deleted, by garbage collection.
    """
    spec = VMNodeSpec(
        pool=vm.pool,
        hypervisor=vm.hypervisor,
        host=vm.host,
        zone=vm.zone,
        size=vm_size(vm.size),
        max_size=VmSize(cpu=pool.spec.size.cpu.max, memory=pool.spec.size.memory.max),
        max_pods=vm.max_pods,
        reserved_cpu=format_milli(pool.spec.density.reserved.cpu),
        reserved_memory=format_bytes(pool.spec.density.reserved.memory),
        berths=vm.berths,
        template=pool.spec.template,
    )
    return {
        "apiVersion": API_VERSION,
        "kind": "VMNode",
        "metadata": {
            "name": vm.name,
            "labels": {
                labels.POOL: vm.pool,
                labels.HYPERVISOR: vm.hypervisor,
                labels.MANAGED_BY: labels.FIELD_MANAGER,
            },
            "finalizers": [labels.VM_FINALIZER],
            "ownerReferences": [owner("VMPool", pool.metadata.name, pool.metadata.uid)],
        },
        "spec": spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def vm_size(size: Size) -> VmSize:
    """Size of a VM: whole virtual CPUs from millicores."""
    return VmSize(cpu=size.cpu // 1000, memory=size.memory)


def size_document(size: Size) -> Json:
    """``spec.size`` of a VMNode."""
    return vm_size(size).model_dump(mode="json", by_alias=True)


def owner(kind: str, name: str, uid: str) -> Json:
    """A controlling owner reference to an object of one of our kinds."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def resized(resources: wire.Resources, size: Size) -> Json:
    """Requests and limits that change when a container gets this size; empty: none does.

    A limit keeps its ratio to the request. So a container whose limits equal its
    requests stays that way, and the pod keeps its QoS class, which the API
    server insists on.
    """
    wanted = {"cpu": size.cpu, "memory": size.memory}
    requests, limits = {}, {}
    for resource, new in wanted.items():
        parse, text = _PARSE[resource], _FORMAT[resource]
        request, limit = resources.requests.get(resource), resources.limits.get(resource)
        old = parse(request) if request is not None else None
        if old == new:
            continue
        requests[resource] = text(new)
        if limit is not None:
            limits[resource] = text(scaled(parse(limit), old, new))
    document: Json = {}
    if requests:
        document["requests"] = requests
    if limits:
        document["limits"] = limits
    return document


def scaled(limit: int, old: int | None, new: int) -> int:
    """The limit in the same ratio to a request of ``new`` as it was to ``old``, rounded up.

    Without an old request there is no ratio: the limit stays, or rises to the request.
    """
    return max(new, -(-limit * new // old)) if old else max(new, limit)


def resize_patch(pod: wire.Pod, container: str, resources: Json) -> Json:
    """Strategic merge patch of the pod's ``resize`` subresource, for this very pod."""
    return {
        "metadata": {"uid": pod.metadata.uid},
        "spec": {"containers": [{"name": container, "resources": resources}]},
    }
