"""What the life cycle of one VMNode is decided on: everything seen of it, and what follows.

A ``Situation`` is gathered by ``act/lifecycle.py``; the properties are the words
in which the transition table of ``lifecycle.py`` is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from plimsoll.api import labels as names
from plimsoll.api.hypervisor import Capabilities, HostState
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import Phase, Size, VMNode, VMNodeStatus
from plimsoll.api.vmpool import Disruption, VMPoolSpec
from plimsoll.decide.life.existence import Existence, Exists, Gone, Loss, NotAsked
from plimsoll.decide.life.node import NodeChange, capacity_shows, changes, wish_for
from plimsoll.decide.life.pods import PodsOnNode
from plimsoll.world import wire
from plimsoll.world.snapshot import Frozen
from plimsoll.world.vms import PowerState, VmInfo

LAUNCH_TIMEOUT = 600.0
"""Seconds; for VMs whose pool is gone."""
BACKOFF_FIRST = 15.0
BACKOFF_MAX = 600.0
RELEASE_TIMEOUT = 60.0
"""Longest that a dead VM's node is kept for its pods to be let go, in seconds."""
FORCED_GRACE_MAX = 300.0
"""Longest that a forced drain waits for pods after deleting them, in seconds."""

_NOT_ASKED = NotAsked()
_NO_PODS = PodsOnNode()
_NO_HOST: tuple[HostState, str] = ("Unknown", "")
_NOT_RUNNING = frozenset({PowerState.OFF, PowerState.RESTARTING, PowerState.DELETING})


class HypervisorFacts(Frozen, frozen=True, kw_only=True):
    """What the life cycle needs of the VM's hypervisor."""

    known: bool = True
    """False: there is no such Hypervisor object."""
    capabilities: Capabilities = Capabilities()
    restart_window: float = 120.0
    hosts: dict[str, tuple[HostState, str]] = {}
    """Host -> (state, zone)."""


@dataclass(frozen=True)
class Situation:
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
        """A node of our name is somebody else's. Without systemUUID it has not said yet."""
        return (
            self.node is not None
            and self.matched is None
            and (self.status.identity is None or bool(self.node.status.node_info.system_uuid))
        )

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

    # Failure of the VM or its host

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

    @property
    def confirmed_off(self) -> bool:
        """Proven not to run: gone, or off and nobody claims that its host cannot be asked."""
        if self.gone:
            return True
        off = self.vm is not None and self.vm.power is PowerState.OFF
        return off and self.host_state in ("Up", "Down", "Maintenance")

    @property
    def lost(self) -> bool:
        """The VM or its host failed, as far as can be seen; whether it comes back is open."""
        power = self.vm.power if self.vm else None
        if self.node_ready:
            # What the hypervisor says counts before kubelet's heartbeat runs out.
            return self.gone or power in _NOT_RUNNING
        if isinstance(self.existence, NotAsked):
            return False
        # A running VM on a sound host whose kubelet is silent is ill, not lost.
        return power is not PowerState.RUNNING or self.host_state in ("Down", "Isolated")

    @property
    def loss(self) -> Loss:
        """What a lost VM is waiting for."""
        if self.confirmed_off:
            return Loss.OFF
        if self.unknown:
            return Loss.UNKNOWN
        restarting = self.vm is not None and self.vm.power is PowerState.RESTARTING
        return Loss.RESTARTING if restarting else Loss.MAY_RUN

    @property
    def dead(self) -> bool:
        """Confirmed off after the time that the hypervisor has for restarting it."""
        return (
            self.confirmed_off
            and not self.node_ready
            and bool(self.status.lost_since)
            and self.since(self.status.lost_since) >= self.hypervisor.restart_window
        )

    @property
    def release_overdue(self) -> bool:
        """The taint was on a dead node for long enough: what is left now goes with it."""
        limit = self.hypervisor.restart_window + RELEASE_TIMEOUT
        return self.since(self.status.lost_since) >= limit

    # Timers

    def since(self, text: str) -> float:
        """Seconds since that time, as far as they were watched."""
        start = parse_rfc3339(text) if text else self.now
        return self.now - max(start, self.watching_since)

    @property
    def launch_timeout(self) -> float:
        return self.pool.launch_timeout if self.pool else LAUNCH_TIMEOUT

    @property
    def disruption(self) -> Disruption:
        return self.pool.disruption if self.pool else Disruption()

    @property
    def backoff(self) -> float:
        """Seconds to wait after the last failed launch before the next attempt."""
        failures = self.status.failures
        return min(BACKOFF_MAX, BACKOFF_FIRST * 2.0 ** min(failures - 1, 10)) if failures else 0.0

    @property
    def backoff_left(self) -> float:
        """Seconds until the next attempt. A restart of ours does not begin the wait anew."""
        since = self.status.attempt_since
        return max(0.0, parse_rfc3339(since) + self.backoff - self.now) if since else 0.0

    @property
    def launch_overdue(self) -> bool:
        return self.since(self.status.attempt_since) >= self.backoff + self.launch_timeout

    @property
    def drain_overdue(self) -> bool:
        return self.since(self.status.phase_since) >= self.disruption.drain_timeout

    @property
    def forced(self) -> bool:
        """A drain that is overdue is forced: by the pool's wish, or because a deletion was asked
        for, which nobody can take back."""
        return self.deleting or self.disruption.on_drain_timeout == "Force"

    @property
    def force_overdue(self) -> bool:
        """Even forced, pods do not go; the power-off of the VM will end them."""
        wait = self.disruption.drain_timeout + min(self.pods.grace, FORCED_GRACE_MAX)
        return self.since(self.status.phase_since) >= wait

    # Size

    @property
    def resize_refusal(self) -> str:
        """Why the VM cannot get its wanted size while it runs; empty: it can."""
        seen, want, able = self.size_seen, self.record.spec.size, self.hypervisor.capabilities
        if seen is None:
            return ""
        if (want.cpu < seen.cpu or want.memory < seen.memory) and not able.hot_remove:
            return "a running VM cannot be made smaller on this hypervisor"
        if want.cpu > seen.cpu and not able.hot_add_cpu:
            return "CPUs cannot be added to a running VM on this hypervisor"
        if want.memory > seen.memory and not able.hot_add_memory:
            return "memory cannot be added to a running VM on this hypervisor"
        return ""

    @property
    def size_differs(self) -> bool:
        return self.vm is not None and self.size_seen != self.record.spec.size

    @property
    def node_shows_size(self) -> bool:
        return self.matched is not None and capacity_shows(self.matched, self.record.spec.size)

    @property
    def resize_overdue(self) -> bool:
        return self.since(self.status.phase_since) >= self.launch_timeout
