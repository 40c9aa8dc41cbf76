"""Containers on VMs as they are: every node of the dump is taken to be a VM."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from plimsoll.api import labels as names
from plimsoll.compare.estate import Estate
from plimsoll.compare.hosts import Park, pack
from plimsoll.compare.layout import HostUse, Layout, Machine, Way


def as_is(
    estate: Estate,
    pools: Collection[str],
    pool_of_node: Mapping[str, str],
    fallback: str,
    park: Park,
    spare: int,
) -> Layout | None:
    """What the dump shows; None: it holds no nodes, so nothing is known of today.

    ``pools`` are those known by name; ``fallback`` is the one whose prices a node has that
    belongs to none of them.

    Raises:
        TooLarge: a node is larger than every host.
    """
    if not estate.nodes:
        return None
    layout = Layout(Way.AS_IS, [], {})
    numbers: dict[str, int] = {}
    for vm in estate.nodes:
        numbers[vm.name] = len(layout.machines)
        pool = vm.pool or vm.labels.get(names.POOL) or pool_of_node.get(vm.name) or fallback
        pool = pool if pool in pools else fallback
        layout.machines.append(Machine(vm.name, vm.cpu, vm.memory, pool, vm.zone, vm.host))
    for container in estate.containers:
        if container.node is None:
            layout.unplaced[container.key] = "it is pending"
        elif container.node not in numbers:
            layout.unplaced[container.key] = f"its node {container.node} is not in the dump"
        else:
            layout.placed[container.key] = numbers[container.node]
    layout.daemon_cpu = sum(r.cpu for r in estate.daemons.values())
    layout.daemon_memory = sum(r.memory for r in estate.daemons.values())
    if all(machine.host for machine in layout.machines):
        layout.hosts_measured = True
        sizes = {host.name: host.use for host in park.known}
        used = sorted({machine.host for machine in layout.machines})
        layout.hosts = [
            sizes.get(name) or HostUse(name, park.like.cpu, park.like.memory) for name in used
        ]
    else:
        pack(layout, {c.key: c.workload for c in estate.containers}, park, spare)
    return layout
