"""What the life cycle of one VMNode is decided on: everything seen of it, and what follows.

A ``Situation`` is gathered by ``act/look.py``; the properties are the words
in which the transition table of ``lifecycle.py`` is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from plimsoll.api.quantity import format_bytes
from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.api.vmnode import Phase
from plimsoll.api.vmpool import Disruption, PhaseTimeouts
from plimsoll.decide.life.existence import Loss, NotAsked
from plimsoll.decide.life.node import capacity_shows
from plimsoll.decide.life.seen import HypervisorFacts, Seen
from plimsoll.world.vms import PowerState

__all__ = ["HypervisorFacts", "Situation"]

LAUNCH_TIMEOUT = 600.0
"""Seconds; for VMs whose pool is gone."""
TRIES_PER_HOST = 2
"""Launches that fail on a host before another one is to be chosen."""
BACKOFF_FIRST = 15.0
BACKOFF_MAX = 600.0
RELEASE_TIMEOUT = 60.0
"""Longest that a dead VM's node is kept for its pods to be let go, in seconds."""
FORCED_GRACE_MAX = 300.0
"""Longest that a forced drain waits for pods after deleting them, in seconds."""

STARTS_MAX = 3
"""Times that a VM that is off is started again, before it is given up as dead."""
STARTS_WITHIN = 600.0
"""Seconds after its last start for which a VM's starts are counted together."""
START_BACKOFF = 10.0
"""Seconds between a VM's first and second start; doubled for each further one."""

_NOT_RUNNING = frozenset(
    {PowerState.OFF, PowerState.PAUSED, PowerState.RESTARTING, PowerState.DELETING}
)


@dataclass(frozen=True)
class Situation(Seen):
    """Everything seen of one VMNode at one time. Times in seconds since the epoch."""

    # Failure of the VM or its host

    @property
    def confirmed_off(self) -> bool:
        """Proven not to run: gone, or off and nobody claims that its host cannot be asked."""
        if self.gone:
            return True
        sure = self.host_state in ("Up", "Down", "Maintenance")
        return self.power is PowerState.OFF and sure

    @property
    def lost(self) -> bool:
        """The VM or its host failed, as far as can be seen; whether it comes back is open."""
        if self.node_ready:
            # What the hypervisor says counts before kubelet's heartbeat runs out.
            return self.gone or self.power in _NOT_RUNNING
        if isinstance(self.existence, NotAsked):
            return False
        # A running VM on a sound host whose kubelet is silent is ill, not lost.
        return self.power is not PowerState.RUNNING or self.host_state in ("Down", "Isolated")

    @property
    def loss(self) -> Loss:
        """What a lost VM is waiting for."""
        if self.confirmed_off:
            return Loss.OFF
        if self.unknown:
            return Loss.UNKNOWN
        if self.power is PowerState.PAUSED:
            return Loss.PAUSED
        return Loss.RESTARTING if self.power is PowerState.RESTARTING else Loss.MAY_RUN

    @property
    def dead(self) -> bool:
        """Confirmed off after the time that the hypervisor has for restarting it, and not to
        be started again by us."""
        return (
            self.confirmed_off
            and not self.may_start
            and not self.node_ready
            and bool(self.status.lost_since)
            and self.since(self.status.lost_since) >= self.hypervisor.restart_window
        )

    @property
    def recent_starts(self) -> int:
        """Times that it was started again, as far as they are counted together."""
        started = self.status.started_at
        recent = bool(started) and self.since(started) < STARTS_WITHIN
        return self.status.starts if recent else 0

    @property
    def may_start(self) -> bool:
        """The VM is off while its host is up, and we are to start it, now or after a while.

        One that never became a node is started whatever the pool says: between being made
        and being started the operator may have been killed.
        """
        launching = self.phase in (Phase.BOOTING, Phase.JOINING)
        return (
            self.power is PowerState.OFF
            and self.host_state == "Up"
            and self.hypervisor.capabilities.start
            and (launching or self.pool is None or self.pool.when_off == "Restart")
            and not self.leaving
            and not self.out_of_service
            and self.recent_starts < STARTS_MAX
        )

    @property
    def start_wait(self) -> float:
        """Seconds until it may be started again. A restart of ours does not begin them anew."""
        if not self.recent_starts:
            return 0.0
        wait = START_BACKOFF * 2.0 ** (self.recent_starts - 1)
        return max(0.0, parse_rfc3339(self.status.started_at) + wait - self.now)

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
    def launch_overdue(self) -> str:
        """Which limit of a launch has passed, in words; empty: none has."""
        attempt = self.since(self.status.attempt_since) - self.backoff
        if attempt >= self.launch_timeout:
            return f"did not become a Ready node within {self.launch_timeout:g} s"
        limits = self.pool.phase_timeouts if self.pool else PhaseTimeouts()
        in_phase = self.since(self.status.phase_since)
        limit, since = {
            Phase.CREATING: (limits.creating, attempt),
            Phase.BOOTING: (limits.booting, in_phase),
            Phase.JOINING: (limits.joining, in_phase),
        }.get(self.phase, (None, 0.0))
        return f"was {self.phase} for over {limit:g} s" if limit and since >= limit else ""

    @property
    def launch_late(self) -> bool:
        """The launch is to be undone: a limit has passed, and the VM's host can be asked."""
        return (
            bool(self.launch_overdue)
            and self.power is not PowerState.UNKNOWN
            and not self.node_ready
        )

    @property
    def launch_lost(self) -> bool:
        """The launch is late, and nobody can say what became of its VM: it is not counted on."""
        unsure = self.unknown or self.power is PowerState.UNKNOWN
        launching = self.phase in (Phase.BOOTING, Phase.JOINING)
        return launching and unsure and bool(self.launch_overdue) and not self.node_ready

    @property
    def better_elsewhere(self) -> bool:
        """Launches failed time and again on the host that was chosen, and another one is up.

        Whoever chooses hosts is to choose again, so the VMNode gives way to another.
        """
        chosen = self.record.spec.host
        others = (state for host, (state, _) in self.hypervisor.hosts.items() if host != chosen)
        return bool(chosen) and self.status.failures >= TRIES_PER_HOST and "Up" in others

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
        most = self.record.spec.max_size
        if most is not None and (want.cpu > most.cpu or want.memory > most.memory):
            return (
                f"the VM was made to grow to {most.cpu} CPUs and {format_bytes(most.memory)} at "
                "most (spec.maxSize); a new VM of its pool may be larger"
            )
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
