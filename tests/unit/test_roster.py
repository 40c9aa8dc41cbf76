"""Replicas are counted in step with the fleet as if they were counted anew each time."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleets import change, worlds
from plimsoll.api import labels as names
from plimsoll.decide import sizing
from plimsoll.decide.fleet import Bin, Fleet
from plimsoll.decide.roster import Roster
from plimsoll.world.snapshot import Workload

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def homes(roster: Roster, fleet: Fleet, workload: Workload) -> list[tuple[str, Bin]]:
    own = [*(pod.key for pod in roster.pods(workload)), *roster.added(workload)]
    return [(key, fleet.bins[fleet.where[key]]) for key in own if key in fleet.where]


def is_lost(target: Bin) -> bool:
    return target.vm is not None and target.vm.lost


def label_of(workload: Workload) -> str:
    return names.TOPOLOGY_KEYS[workload.spec.redundancy.across]


def preferred(roster: Roster, fleet: Fleet, workload: Workload) -> dict[str, int] | None:
    if not workload.spec.redundancy.survive:
        return None
    label = label_of(workload)
    there = [target for _, target in homes(roster, fleet, workload) if not is_lost(target)]
    return dict(Counter(target.labels.get(label, "") for target in there))


def used(roster: Roster, fleet: Fleet, workload: Workload) -> set[str] | None:
    label, survive = label_of(workload), workload.spec.redundancy.survive
    there = [target for _, target in homes(roster, fleet, workload) if not is_lost(target)]
    found = {target.labels[label] for target in there if label in target.labels}
    return found if 0 < len(found) <= survive else None


def is_redundant(roster: Roster, fleet: Fleet, workload: Workload) -> bool:
    survive, label = workload.spec.redundancy.survive, label_of(workload)
    if not survive:
        return True
    offered: dict[str, list[tuple[int, int]]] = {}
    for key, target in homes(roster, fleet, workload):
        serves = target.vm is None or (target.vm.ready and not target.vm.lost)
        if serves and label in target.labels:
            size = target.requests(key)
            offered.setdefault(target.labels[label], []).append((size.cpu, size.memory))
    fullest = sorted(
        offered, key=lambda d: (-sum(cpu for cpu, _ in offered[d]), -len(offered[d]), d)
    )
    rest = [size for domain in fullest[survive:] for size in offered[domain]]
    if not rest or workload.demand is None:
        return bool(rest)
    need = sizing.need_of(workload.spec, workload.demand.cpu, workload.demand.memory)
    return sum(cpu for cpu, _ in rest) >= need.cpu and sum(m for _, m in rest) >= need.memory


def domains(fleet: Fleet, workload: Workload) -> int | None:
    across, label = workload.spec.redundancy.across, label_of(workload)
    if across == "vm":
        return None
    found = {b.labels[label] for b in fleet.bins.values() if b.accepts and label in b.labels}
    hosts = [host for host in fleet.snapshot.hypervisors[0].hosts or () if host.state == "Up"]
    found |= {host.name if across == "host" else host.zone for host in hosts}
    return len(found - {""})


@given(st.data())
@SETTINGS
def test_replicas_are_where_a_walk_over_all_of_them_finds_them(data: st.DataObject) -> None:
    fleet = Fleet(data.draw(worlds(restarts=True)))
    roster = Roster(fleet.snapshot, fleet)
    marks: list[int] = []
    new = 0
    for _ in range(data.draw(st.integers(0, 12))):
        what = data.draw(st.sampled_from(["mark", "change", "change", "add", "ask"]))
        workload = data.draw(st.sampled_from(fleet.snapshot.workloads))
        if what == "mark":
            if marks:
                fleet.rollback(marks.pop())
            else:
                marks.append(fleet.mark())
        elif what == "change":
            change(data.draw, fleet)
        elif what == "add" and fleet.bins and not marks:
            key, new = f"{workload.key}-new-{new}", new + 1
            target = fleet.bins[data.draw(st.sampled_from(sorted(fleet.bins)))]
            assert workload.template is not None
            fleet.put(key, workload.template, target)
            if data.draw(st.booleans()):
                roster.redundancy(workload)
            roster.add(workload, key)
        for asked in fleet.snapshot.workloads if what == "ask" else ():
            compare(roster, fleet, asked)
    for workload in fleet.snapshot.workloads:
        compare(roster, fleet, workload)


def compare(roster: Roster, fleet: Fleet, workload: Workload) -> None:
    prefer, apart = roster.preference(workload.key), roster.apart(workload.key)
    assert (prefer.counts if prefer is not None else None) == preferred(roster, fleet, workload)
    assert (set(apart.used) if apart is not None else None) == used(roster, fleet, workload)
    assert roster.redundancy(workload)[0] == is_redundant(roster, fleet, workload)
    assert roster.domains(workload) == domains(fleet, workload)
