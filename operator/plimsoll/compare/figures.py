"""The figures of each way, all worked out from its layout by the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plimsoll.api.vmpool import VMPoolSpec
from plimsoll.compare.assumptions import Options
from plimsoll.compare.blast import Blast, blast
from plimsoll.compare.estate import Estate
from plimsoll.compare.layout import Layout, Machine, Way
from plimsoll.decide import cost


@dataclass(frozen=True)
class Density:
    """Containers in one machine or on one host."""

    mean: float
    most: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """One way in numbers. Millicores, bytes, thousandths of the cost unit."""

    way: Way
    vms: int
    hosts: int
    """In use."""
    spare_hosts: int
    """Kept free besides, so that as many may fail."""
    hosts_measured: bool
    beyond: int
    """Hosts that the inventory does not have."""
    placed: int
    unplaced: int
    cpu: int
    """Provisioned: sizes of the VMs; of whole hosts on bare metal."""
    memory: int
    cpu_requested: int
    """By the containers that are placed."""
    memory_requested: int
    guests: int
    """Operating systems that run containers."""
    guest_cpu: int
    """Taken by them."""
    guest_memory: int
    runtime_cpu: int
    """Taken by the container runtime for all containers."""
    runtime_memory: int
    hypervisor_cpu: int
    hypervisor_memory: int
    daemon_cpu: int
    """Requested by DaemonSet pods and static pods."""
    daemon_memory: int
    cost_machines: int
    """VMs at the pool's prices; whole hosts at its prices for CPU and memory on bare metal."""
    licences: int
    """Of hosts."""
    cost_whole: int
    """As if every host were paid whole, spare ones too: CPU and memory of the hosts, plus what
    each VM costs as such, plus licences."""
    per_vm: Density | None
    per_host: Density
    vm_blast: Blast | None
    host_blast: Blast

    @property
    def cost(self) -> int:
        return self.cost_machines + self.licences

    @property
    def overhead_cpu(self) -> int:
        return self.guest_cpu + self.runtime_cpu + self.hypervisor_cpu + self.daemon_cpu

    @property
    def overhead_memory(self) -> int:
        return self.guest_memory + self.runtime_memory + self.hypervisor_memory + self.daemon_memory

    @property
    def cpu_used(self) -> float:
        """Share of the CPU provisioned that containers request."""
        return self.cpu_requested / self.cpu if self.cpu else 0.0

    @property
    def memory_used(self) -> float:
        return self.memory_requested / self.memory if self.memory else 0.0

    @property
    def machine_blast(self) -> Blast:
        """Of the machine in which a container runs: its VM, or its host on bare metal."""
        return self.vm_blast or self.host_blast


def figures_of(
    layout: Layout,
    estate: Estate,
    specs: Mapping[str, VMPoolSpec],
    reference: str,
    options: Options,
    hypervisor: tuple[int, int],
) -> Figures:
    """The figures of a way.

    ``reference``: pool at whose prices hosts are paid whole. ``hypervisor``: millicores and
    bytes that a hypervisor takes of each host with VMs.
    """
    placed = [c for c in estate.containers if c.key in layout.placed]
    workloads = {c.key: c.workload for c in placed}
    number = len(layout.machines)
    hosts = len(layout.hosts)
    under = hypervisor if layout.in_vms else (0, 0)
    in_runtime = 0 if layout.way is Way.ONE_APP_PER_VM else len(placed)
    at_host = {key: layout.machines[at].host for key, at in layout.placed.items()}
    host_blast = blast(at_host, workloads, [host.name for host in layout.hosts])
    vm_blast, per_vm = None, None
    if layout.in_vms:
        at_vm = {key: layout.machines[at].name for key, at in layout.placed.items()}
        vm_blast = blast(at_vm, workloads, [machine.name for machine in layout.machines])
        per_vm = _density(vm_blast)
    licence = options.vm_host_licence if layout.in_vms else options.bare_host_licence
    licences = licence * (hosts + layout.spare)
    return Figures(
        way=layout.way,
        vms=number if layout.in_vms else 0,
        hosts=hosts,
        spare_hosts=layout.spare,
        hosts_measured=layout.hosts_measured,
        beyond=layout.beyond,
        placed=len(placed),
        unplaced=len(estate.containers) - len(placed),
        cpu=sum(machine.cpu for machine in layout.machines),
        memory=sum(machine.memory for machine in layout.machines),
        cpu_requested=sum(c.requests.cpu for c in placed),
        memory_requested=sum(c.requests.memory for c in placed),
        guests=number,
        guest_cpu=number * options.guest_cpu,
        guest_memory=number * options.guest_memory,
        runtime_cpu=in_runtime * options.container_cpu,
        runtime_memory=in_runtime * options.container_memory,
        hypervisor_cpu=hosts * under[0],
        hypervisor_memory=hosts * under[1],
        daemon_cpu=layout.daemon_cpu,
        daemon_memory=layout.daemon_memory,
        cost_machines=sum(_price(m, specs[m.pool], layout.in_vms) for m in layout.machines),
        licences=licences,
        cost_whole=_whole(layout, specs, reference) + licences,
        per_vm=per_vm,
        per_host=_density(host_blast),
        vm_blast=vm_blast,
        host_blast=host_blast,
    )


def _density(found: Blast) -> Density:
    counts = found.containers
    return Density(sum(counts) / max(1, len(counts)), max(counts, default=0))


def _price(machine: Machine, spec: VMPoolSpec, in_vm: bool) -> int:
    price = cost.of_size(spec, machine.cpu, machine.memory)
    return price if in_vm else price - spec.cost.per_vm


def _whole(layout: Layout, specs: Mapping[str, VMPoolSpec], reference: str) -> int:
    spec = specs[reference]
    sizes = [(host.cpu, host.memory) for host in layout.hosts]
    # Spare hosts are like the largest of those in use.
    sizes += [max(sizes, default=(0, 0))] * layout.spare
    machines = sum(cost.of_size(spec, cpu, memory) - spec.cost.per_vm for cpu, memory in sizes)
    per_vm = sum(specs[m.pool].cost.per_vm for m in layout.machines) if layout.in_vms else 0
    return machines + per_vm
