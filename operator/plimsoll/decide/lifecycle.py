"""The life of one VMNode: every transition, in one table.

    Requested -> Creating -> Booting -> Joining -> Ready -> (Resizing) -> Draining -> Deleting

``next_step`` takes the first row of ``TABLE`` that starts in the VMNode's phase and
whose condition holds. It is pure; ``act/lifecycle.py`` gathers the situation and
carries the step out. A step holds at most one action and writes the status after
it, so a crash in between repeats the action; every action may be repeated.

What the table relies on:

- ``Creating`` is written before the hypervisor is first asked: a VMNode that is
  still ``Requested`` has no VM.
- The identity is written before the VM is waited for. Without one, the VM is
  searched for by the VMNode's UID among all VMs that carry our mark.
- A launch that takes too long is undone: the VM is deleted, proven gone, and
  created anew after a back-off. A VM that never became a node carries no pods,
  and keeping it would hold its host's room for nothing. Where VMs are slow, the
  pool's ``launchTimeout`` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from plimsoll.api.vmnode import Phase
from plimsoll.decide.life import launch, leave, serve
from plimsoll.decide.life.situation import Situation
from plimsoll.decide.life.steps import Step
from plimsoll.world.vms import PowerState


class Rule(NamedTuple):
    """One row: in one of these phases, if the condition holds, take the step."""

    sources: str
    """Phases in which it applies, by their letters in ``LETTERS``."""
    condition: str
    """``when`` in words."""
    target: str
    """The phase after the step, or ``gone``; empty: the same."""
    action: str
    """What the step does besides writing the status."""
    when: Callable[[Situation], bool]
    step: Callable[[Situation], Step]

    @property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(LETTERS[letter] for letter in self.sources)


LETTERS = {
    "R": Phase.REQUESTED,
    "C": Phase.CREATING,
    "B": Phase.BOOTING,
    "J": Phase.JOINING,
    "Y": Phase.READY,
    "Z": Phase.RESIZING,
    "D": Phase.DRAINING,
    "X": Phase.DELETING,
}
ANY = lambda s: True  # noqa: E731

# fmt: off
TABLE: tuple[Rule, ...] = (
    # Nobody is to join any more with what a VM was given
    Rule("X", "its bootstrap token is left", "", "delete token",
         lambda s: s.token_left, leave.delete_token),

    # Leaving before there is anything to drain
    Rule("R", "deleted: no VM was asked for", "gone", "",
         lambda s: s.deleting, leave.done),
    Rule("RCBJYZD", "retired, no node is ours", "", "delete VMNode",
         lambda s: s.retiring and not s.deleting and s.matched is None, leave.delete_record),
    Rule("CBJYZD", "deleted, no node is ours", Phase.DELETING, "",
         lambda s: s.deleting and s.matched is None, leave.delete),

    # A VM that is dead: confirmed off for the whole restart window, its node not Ready
    Rule("YZD", "dead", "", "taint out-of-service",
         lambda s: s.dead and s.matched is not None and not s.out_of_service,
         serve.mark_out_of_service),
    Rule("YZD", "dead and tainted, pods not let go yet", "", "",
         lambda s: s.dead and bool(s.pods.all) and not s.release_overdue, serve.await_release),
    Rule("YZD", "dead and tainted, deleted", Phase.DELETING, "",
         lambda s: s.dead and s.matched is not None and s.deleting, leave.delete),
    Rule("YZD", "dead and tainted", "", "delete VMNode",
         lambda s: s.dead and s.matched is not None, leave.delete_record),
    Rule("JYZD", "tainted by us, but seen and not off", "", "remove our taint",
         lambda s: s.out_of_service and s.vm is not None and not s.confirmed_off,
         serve.clear_out_of_service),

    # Draining begins
    Rule("JYZ", "deleted", Phase.DRAINING, "",
         lambda s: s.deleting, leave.drain),
    Rule("JYZ", "retired, VM not lost nor unknown", Phase.DRAINING, "",
         lambda s: s.retiring and not s.lost and not s.unknown, leave.drain),

    # A VM that is not ours is never touched
    Rule("BJYZX", "VM carries a foreign mark", "", "",
         lambda s: s.foreign is not None, launch.foreign),

    # Launch
    Rule("R", "no such Hypervisor", "", "",
         lambda s: not s.hypervisor.known, launch.no_hypervisor),
    Rule("R", "a node has our name", "", "",
         lambda s: s.stranger, launch.stranger),
    Rule("R", "its pool's template has changed", "", "take template",
         lambda s: s.template != s.record.spec.template, launch.take_template),
    Rule("R", "backing off", "", "",
         lambda s: s.backoff_left > 0, launch.back_off),
    Rule("R", "otherwise", Phase.CREATING, "",
         ANY, launch.begin),
    Rule("C", "a VM with our UID is being deleted", "", "",
         lambda s: s.power is PowerState.DELETING, leave.await_deletion),
    Rule("C", "a VM with our UID exists", Phase.BOOTING, "",
         lambda s: s.vm is not None, launch.identify),
    Rule("C", "unknown whether one exists", "", "",
         lambda s: s.unknown, launch.unknown),
    Rule("C", "none exists, a node has our name", "", "",
         lambda s: s.stranger, launch.stranger),
    Rule("C", "none exists, its pool's template has changed", "", "take template",
         lambda s: s.template != s.record.spec.template, launch.take_template),
    Rule("C", "none exists, failed twice on its host, another is up", "", "delete VMNode",
         lambda s: s.better_elsewhere, launch.give_up),
    Rule("C", "none exists, timed out", Phase.DELETING, "",
         lambda s: bool(s.launch_overdue), launch.launch_failed),
    Rule("C", "none exists, backing off", "", "",
         lambda s: s.backoff_left > 0, launch.back_off),
    Rule("C", "none exists", "", "create token, create VM",
         ANY, launch.create),
    Rule("J", "node's systemUUID is another", "", "",
         lambda s: s.stranger, launch.stranger),
    Rule("JYZ", "its pool's labels, annotations or taints have changed", "", "take them",
         lambda s: s.matched is not None and s.template_in_place != s.record.spec.template,
         serve.follow),
    Rule("JYZ", "our node misses labels or taints", "", "add them",
         lambda s: s.node_change is not None and not s.lost, serve.adopt),
    Rule("JYZ", "our node's berths differ", "", "set berths",
         lambda s: s.berths_differ and not s.lost, serve.berths),
    Rule("J", "our node is Ready", Phase.READY, "",
         lambda s: s.node_ready, launch.joined),
    Rule("BJ", "VM unknown", "", "",
         lambda s: s.unknown, launch.unknown),
    Rule("BJ", "VM gone", Phase.DELETING, "",
         lambda s: s.gone, launch.launch_failed),
    Rule("BJ", "timed out, VM can be asked, node not Ready", "", "read console",
         lambda s: s.launch_late and s.console is None, launch.read_console),
    Rule("BJ", "the same, console read", Phase.DELETING, "",
         lambda s: s.launch_late, launch.launch_failed),
    Rule("BJYZ", "VM off on a host that is up, may be started", "", "start VM",
         lambda s: s.may_start and not s.start_wait, serve.start),
    Rule("B", "VM runs", Phase.JOINING, "",
         lambda s: s.power is PowerState.RUNNING, launch.runs),
    Rule("B", "otherwise", "", "",
         ANY, launch.boots),
    Rule("J", "otherwise", "", "",
         ANY, launch.joins),

    # Serving
    Rule("YZ", "node's systemUUID is another", "", "",
         lambda s: s.stranger, launch.stranger),
    Rule("YZ", "node is gone", Phase.JOINING, "",
         lambda s: s.matched is None, serve.rejoin),
    Rule("YZ", "VM lost", "", "",
         lambda s: s.lost, serve.hold),
    Rule("YZ", "node Ready, its bootstrap token is left", "", "delete token, wipe seed",
         lambda s: s.token_left and s.node_ready and s.vm is not None, serve.seal),
    Rule("Y", "cordoned by us", "", "uncordon",
         lambda s: s.cordoned_by_us, serve.uncordon),
    Rule("YZ", "wanted size impossible while running", Phase.READY, "take size back",
         lambda s: s.size_differs and bool(s.resize_refusal), serve.refuse_size),
    Rule("Y", "wanted size differs, node Ready", Phase.RESIZING, "",
         lambda s: s.size_differs and s.node_ready and s.power is PowerState.RUNNING,
         serve.begin_resize),
    Rule("Y", "otherwise", "", "",
         ANY, serve.serve),
    Rule("Z", "VM and node show the size", Phase.READY, "",
         lambda s: s.vm is not None and not s.size_differs and s.node_shows_size,
         serve.resized),
    Rule("Z", "VM unknown", "", "",
         lambda s: s.unknown, launch.unknown),
    Rule("Z", "resize timed out", Phase.READY, "take size back",
         lambda s: s.resize_overdue, serve.resize_overdue),
    Rule("Z", "not asked for yet", "", "resize VM",
         lambda s: s.size_differs and not serve.asked(s), serve.ask_resize),
    Rule("Z", "otherwise", "", "",
         ANY, serve.await_resize),

    # Draining
    Rule("D", "retirement taken back, cordoned by us", "", "uncordon",
         lambda s: not s.leaving and s.cordoned_by_us, serve.uncordon),
    Rule("D", "retirement taken back", Phase.READY, "",
         lambda s: not s.leaving, leave.undrained),
    Rule("D", "retired, VM lost or unknown", "", "",
         lambda s: not s.deleting and (s.lost or s.unknown), serve.hold),
    Rule("D", "not cordoned", "", "cordon",
         lambda s: not s.cordoned, leave.cordon),
    Rule("D", "empty, deleted", Phase.DELETING, "",
         lambda s: not s.pods.all and s.deleting, leave.delete),
    Rule("D", "empty, retired", "", "delete VMNode",
         lambda s: not s.pods.all, leave.delete_record),
    Rule("D", "timed out, retired with Keep", "", "take retirement back",
         lambda s: s.drain_overdue and not s.forced, leave.keep),
    Rule("D", "pods outlast even the force, deleted", Phase.DELETING, "",
         lambda s: s.force_overdue and s.deleting, leave.delete),
    Rule("D", "pods outlast even the force, retired", "", "delete VMNode",
         lambda s: s.force_overdue, leave.delete_record),
    Rule("D", "timed out, deleted or Force", "", "delete pods",
         lambda s: s.drain_overdue and bool(s.pods.evictable or s.pods.blocked), leave.force),
    Rule("D", "pods may be moved", "", "evict pods",
         lambda s: bool(s.pods.evictable), leave.evict),
    Rule("D", "otherwise", "", "",
         ANY, leave.await_pods),

    # Deleting
    Rule("X", "VM unknown", "", "",
         lambda s: s.unknown, launch.unknown),
    Rule("X", "VM being deleted", "", "",
         lambda s: s.power is PowerState.DELETING, leave.await_deletion),
    Rule("X", "VM exists, identity not recorded", "", "",
         lambda s: s.vm is not None and s.status.identity is None, leave.identify),
    Rule("X", "VM exists", "", "delete VM",
         lambda s: s.vm is not None, leave.delete_vm),
    Rule("X", "VM gone, our node exists", "", "delete node",
         lambda s: s.matched is not None, leave.delete_node),
    Rule("X", "both gone, deleted", "gone", "",
         lambda s: s.deleting, leave.done),
    Rule("X", "both gone, failed twice on its host, another is up", "", "delete VMNode",
         lambda s: s.better_elsewhere, launch.give_up),
    Rule("X", "both gone, launch failed", Phase.REQUESTED, "",
         ANY, launch.again),
)
# fmt: on


def rule_for(s: Situation) -> Rule:
    """The row that applies: the first of the VMNode's phase whose condition holds."""
    return next(rule for rule in TABLE if s.phase in rule.phases and rule.when(s))


def next_step(s: Situation) -> Step:
    """What to do now about this VMNode. Equal situations give equal steps."""
    return rule_for(s).step(s)
