"""What was seen of one VMNode: its record, its VM, its node. What follows: ``situation.py``."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities, HostState
from plimsoll.api.vmnode import Phase, Size, VMNode, VMNodeStatus
from plimsoll.api.vmpool import Template, VMPoolSpec
from plimsoll.decide.life.existence import Existence, Exists, Gone, NotAsked
from plimsoll.decide.life.node import NodeChange, changes, wish_for
from plimsoll.decide.life.pods import PodsOnNode
from plimsoll.world import wire
from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import PowerState, VmInfo

_NOT_ASKED = NotAsked()
_NO_PODS = PodsOnNode()
_NO_HOST: tuple[HostState, str] = ("Unknown", "")


class HypervisorFacts(Frozen, frozen=True, kw_only=True):
    """What the life cycle needs of the VM's hypervisor."""

    known: bool = True
    """False: there is no such Hypervisor object."""
    capabilities: Capabilities = Capabilities()
    restart_window: float = 120.0
    hosts: dict[str, tuple[HostState, str]] = {}
    """Host -> (state, zone)."""


@dataclass(frozen=True)
class Seen:
    """Everything seen of one VMNode at one time. Times in seconds since the epoch."""

    record: VMNode
    cluster: str
    """Our mark on VMs: UID of the namespace kube-system."""
    now: float
    watching_since: float
    """Since when this process runs and the hypervisor answers; no timer starts earlier."""
    existence: Existence = _NOT_ASKED
    node: wire.Node | None = None
    pods: PodsOnNode = _NO_PODS
    pool: VMPoolSpec | None = None
    """None: the pool is gone; defaults apply."""
    hypervisor: HypervisorFacts = field(default_factory=HypervisorFacts)
    console: str | None = None
    """What the VM wrote to its console last; None: not asked for."""

    # The record

    @property
    def status(self) -> VMNodeStatus:
        return self.record.status or VMNodeStatus()

    @property
    def phase(self) -> Phase:
        return self.status.phase

    @property
    def deleting(self) -> bool:
        return self.record.metadata.deletion_timestamp is not None

    @property
    def retiring(self) -> bool:
        return self.record.spec.retire is not None

    @property
    def leaving(self) -> bool:
        return self.deleting or self.retiring

    @property
    def template(self) -> Template:
        """The template that the record is to have, as long as no VM was made from another."""
        return self.pool.template if self.pool is not None else self.record.spec.template

    @property
    def template_in_place(self) -> Template:
        """The template that the record is to have of a VM that is there.

        What the VM was made from stays: only another VM can have it differently.
        """
        made = self.record.spec.template
        return self.template.model_copy(
            update={"libvirt": made.libvirt, "bootstrap": made.bootstrap}
        )

    # The VM

    @property
    def foreign(self) -> VmInfo | None:
        """The VM that was found does not carry our mark: never touch it."""
        if not isinstance(self.existence, Exists):
            return None
        vm = self.existence.vm
        ours = vm.owner_uid == self.record.metadata.uid and vm.cluster == self.cluster
        return None if ours else vm

    @property
    def vm(self) -> VmInfo | None:
        """Our VM, if the hypervisor showed it."""
        if isinstance(self.existence, Exists) and self.foreign is None:
            return self.existence.vm
        return None

    @property
    def gone(self) -> bool:
        return isinstance(self.existence, Gone)

    @property
    def unknown(self) -> bool:
        """Neither there nor gone: nothing may be deleted or replaced."""
        return not self.gone and self.vm is None

    @property
    def size_seen(self) -> Size | None:
        """Size of the VM at the hypervisor."""
        return Size(cpu=self.vm.cpu, memory=self.vm.memory) if self.vm else self.status.size

    @property
    def power(self) -> PowerState | None:
        """What the hypervisor says of our VM; None: it showed none."""
        return self.vm.power if self.vm is not None else None

    @property
    def host(self) -> str:
        """Host of the VM, as last seen."""
        return self.vm.host if self.vm and self.vm.host else self.status.host

    @property
    def zone(self) -> str:
        return self.hypervisor.hosts.get(self.host, _NO_HOST)[1] or self.record.spec.zone

    @property
    def host_state(self) -> HostState:
        return self.hypervisor.hosts.get(self.host, _NO_HOST)[0]

    # The node

    @property
    def matched(self) -> wire.Node | None:
        """The node, if it is our VM's: same name and same systemUUID."""
        identity = self.status.identity
        if self.node is None or identity is None:
            return None
        # Firmware and hypervisors disagree about the case of hexadecimal digits.
        same = self.node.status.node_info.system_uuid.casefold() == identity.uuid.casefold()
        return self.node if same else None

    @property
    def stranger(self) -> bool:
        """A node of our name is somebody else's. Without systemUUID it has not said yet.

        Where machines are claimed, one is there before its identity is recorded.
        """
        if self.node is None or self.matched is not None:
            return False
        if self.status.identity is None:
            return not self.hypervisor.capabilities.adopts
        return bool(self.node.status.node_info.system_uuid)

    @property
    def token_left(self) -> bool:
        """A bootstrap token was named for the VM, and may exist still."""
        return bool(self.status.bootstrap_token)

    @property
    def node_ready(self) -> bool:
        return self.matched is not None and any(
            c.type == "Ready" and c.status == "True" for c in self.matched.status.conditions
        )

    @cached_property
    def node_change(self) -> NodeChange | None:
        """What is to be changed on our node so that it carries what it should."""
        if self.matched is None:
            return None
        return changes(self.matched, wish_for(self.record, self.host, self.zone))

    @property
    def berths_wanted(self) -> int:
        """Never below those in use: kubelet would kill the surplus pods when it restarts."""
        return max(self.record.spec.berths, self.pods.berths)

    @property
    def berths_differ(self) -> bool:
        if self.matched is None:
            return False
        status, wanted = self.matched.status, str(self.berths_wanted)
        return any(
            str(a.get(names.BERTHS)) != wanted for a in (status.capacity, status.allocatable)
        )

    @property
    def cordoned(self) -> bool:
        return self.matched is not None and self.matched.spec.unschedulable

    @property
    def cordoned_by_us(self) -> bool:
        node = self.matched
        return (
            node is not None
            and node.spec.unschedulable
            and names.CORDONED in node.metadata.annotations
        )

    @property
    def out_of_service(self) -> bool:
        """Our node carries the taint, and we put it there."""
        return self.matched is not None and any(
            t.key == names.OUT_OF_SERVICE and t.value == names.FIELD_MANAGER
            for t in self.matched.spec.taints
        )
