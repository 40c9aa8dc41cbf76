"""Hypervisors with their hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from plimsoll.api import Hypervisor, VMNode
from plimsoll.api.hypervisor import Capabilities, HostStatus
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import Phase
from plimsoll.world import snapshot
from plimsoll.world.objects import Objects, Observations


def hypervisors_of(objects: Objects, observations: Observations) -> tuple[snapshot.Hypervisor, ...]:
    """Hypervisors by name. Where none was given at all, the pools' are assumed unbounded."""
    if not objects.hypervisors_known:
        named = {pool.spec.hypervisor for pool in objects.pools}
        return tuple(snapshot.Hypervisor(name=name) for name in sorted(named))
    vmnodes: defaultdict[str, list[VMNode]] = defaultdict(list)
    for vmnode in objects.vmnodes:
        vmnodes[vmnode.spec.hypervisor].append(vmnode)
    return tuple(
        snapshot.Hypervisor(
            name=hypervisor.metadata.name,
            ready=_is_ready(hypervisor),
            capabilities=_capabilities(hypervisor),
            hosts=_hosts(hypervisor, vmnodes[hypervisor.metadata.name], observations),
        )
        for hypervisor in sorted(objects.hypervisors, key=lambda h: h.metadata.name)
    )


def _is_ready(hypervisor: Hypervisor) -> bool:
    conditions = hypervisor.status.conditions if hypervisor.status is not None else ()
    return all(c.status == "True" for c in conditions if c.type == "Ready")


def _capabilities(hypervisor: Hypervisor) -> Capabilities:
    if hypervisor.status is not None and hypervisor.status.capabilities is not None:
        return hypervisor.status.capabilities
    simulated = hypervisor.spec.simulated
    if simulated is None:
        return Capabilities()
    return Capabilities(
        hot_add_cpu=simulated.hot_add,
        hot_add_memory=simulated.hot_add,
        hot_remove=simulated.hot_remove,
        high_availability=simulated.high_availability,
    )


def _inventory(hypervisor: Hypervisor) -> tuple[HostStatus, ...] | None:
    """Hosts as last listed; before that, those of the simulated hypervisor's own spec."""
    if hypervisor.status is not None and hypervisor.status.hosts:
        return hypervisor.status.hosts
    simulated = hypervisor.spec.simulated
    if simulated is None:
        return None
    percent = hypervisor.spec.cpu_overcommit_percent
    return tuple(
        HostStatus(
            name=host.name,
            zone=host.zone,
            state=host.state,
            cpu=f"{host.cpu * 1000 * percent // 100}m",
            memory=host.memory,
        )
        for host in simulated.hosts
    )


def _hosts(
    hypervisor: Hypervisor, vmnodes: Iterable[VMNode], observations: Observations
) -> tuple[snapshot.Host, ...] | None:
    """``vmnodes`` are the hypervisor's own."""
    inventory = _inventory(hypervisor)
    if inventory is None:
        return None
    name = hypervisor.metadata.name
    ours: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for vmnode in vmnodes:
        if _in_inventory(vmnode, hypervisor):
            size = (vmnode.status and vmnode.status.size) or vmnode.spec.size
            ours[host_of(vmnode)][0] += size.cpu * 1000
            ours[host_of(vmnode)][1] += size.memory
    return tuple(
        snapshot.Host(
            name=host.name,
            hypervisor=name,
            zone=host.zone,
            cpu=host.cpu,
            memory=host.memory,
            cpu_other=max(0, host.cpu_used - ours[host.name][0]),
            memory_other=max(0, host.memory_used - ours[host.name][1]),
            state=host.state,
            state_since=seconds_of(host.state_since),
            free_nodes=host.free_nodes,
            launch_blocked_until=observations.launch_blocked_until.get(f"{name}/{host.name}", 0.0),
        )
        for host in sorted(inventory, key=lambda h: h.name)
    )


def _in_inventory(vmnode: VMNode, hypervisor: Hypervisor) -> bool:
    """Whether the use that the hosts report includes this VM."""
    status = vmnode.status
    if status is None or status.identity is None:
        return False
    if status.phase not in (Phase.CREATING, Phase.BOOTING):
        return True
    listed = hypervisor.status.last_inventory if hypervisor.status is not None else ""
    return seconds_of(status.phase_since) <= seconds_of(listed)


def host_of(vmnode: VMNode) -> str:
    """The host on which the VM runs, or is to run; empty: any."""
    return (vmnode.status.host if vmnode.status is not None else "") or vmnode.spec.host


def seconds_of(text: str | None) -> float:
    """Seconds of a moment in an object of ours; whatever else may stand there is no moment."""
    try:
        return parse_rfc3339(text) if text else 0.0
    except ValueError:
        return 0.0
