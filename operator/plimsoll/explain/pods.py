"""The explanation of a pod: where it goes, and why not to each VM and to each pool."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from plimsoll.decide import why, wording
from plimsoll.decide.plan import Lever
from plimsoll.decide.why import Obstacle
from plimsoll.decide.whypod import PodAnswer, VmAnswer, explain
from plimsoll.explain.facts import Facts
from plimsoll.explain.moves import move_lines
from plimsoll.explain.question import NotThere
from plimsoll.offline.podclasses import rules_of
from plimsoll.world.snapshot import Pod

_VMS: Final = 5
"""VMs of a group that are named, if not all are asked for."""
_NEAR: Final = 3
_GROWTHS: Final = 4


def lines(key: str, facts: Facts, everything: bool) -> Iterator[str]:
    """The explanation, line by line.

    Raises:
        NotThere: there is no such pod, or it has finished.
    """
    if facts.snapshot.pod(key) is None:
        raise NotThere(_missing(key, facts))
    answer = explain(facts.snapshot, key, facts.now)
    limit = None if everything else _VMS
    yield from _pod(answer)
    yield from _place(answer)
    yield from _vms(answer, limit)
    yield from _pools(answer)
    for note in facts.notes:
        yield f"Note: {note}"


def _missing(key: str, facts: Facts) -> str:
    namespace, _, name = key.partition("/")
    for pod in facts.objects.pods:
        if (pod.metadata.namespace, pod.metadata.name) == (namespace, name):
            return f"pod {key} has finished ({pod.status.phase}): it needs no place"
    pods = facts.snapshot.pods
    like = [pod.key for pod in pods if pod.name == name]
    like += [pod.key for pod in pods if pod.namespace == namespace and pod.name.startswith(name)]
    near = f"; there is {', '.join(like[:_NEAR])}" if like else ""
    return f"there is no pod {key}{near}"


# ----- the pod


def _pod(answer: PodAnswer) -> Iterator[str]:
    pod, shape = answer.pod, answer.pod.shape
    state = f"on {pod.node}" if pod.node is not None else "pending"
    if pod.terminating:
        state += ", terminating"
    extended = "".join(f", {n} {a}" for n, a in sorted(shape.requests.extended.items()) if a)
    yield f"Pod {pod.key}: {state}; asks for {wording.amount(shape.requests)}{extended}"
    rules = ", ".join(rules_of(shape))
    if rules:
        yield f"  rules: {rules}"
    if pod.workload:
        yield f"  replica of ContainerWorkload {pod.workload}"
    yield from (f"  {word}" for word in _special(answer))


def _special(answer: PodAnswer) -> Iterator[str]:
    pod, shape = answer.pod, answer.pod.shape
    if pod.gated:
        yield "waits for its scheduling gates: it is not planned for until they are lifted"
    if shape.not_modelled:
        rules = ", ".join(shape.not_modelled)
        yield f"not modelled, so it is never placed by guess: {rules}"
    if shape.blocked:
        yield f"no VM would help now: {shape.blocked}"
    if pod.nominated:
        yield f"the scheduler makes room for it on {pod.nominated} by preemption"
    if pod.daemon:
        yield "goes with its node (DaemonSet or mirror pod): it is never moved"
    if pod.held and pod.node is not None:
        yield f"is not evicted: {pod.held}"
    if not shape.preempts:
        yield "never preempts others (preemptionPolicy)"


# ----- where it goes


def _place(answer: PodAnswer) -> Iterator[str]:
    pod = answer.pod
    new = {vm.name for vm in answer.plan.vms if vm.new}
    if answer.unplaced is not None:
        lost = f"Loses its place on {pod.node} and finds no other" if pod.node else "Finds no place"
        yield f"{lost} ({answer.unplaced.reason})"
    elif answer.place and answer.place == pod.node:
        yield f"Stays on {answer.place}"
    elif answer.place:
        known = ", a new VM" if answer.place in new else ""
        yield f"Goes to {answer.place}{known}"
        levers = {move.kind for move in answer.moves}
        if not levers & {Lever.GROW, Lever.LAUNCH} and not answer.refusals:
            yield "  Load: it takes the pod as it is, which costs nothing"
    elif pod.node is not None and not pod.terminating:
        yield f"Has no place in the plan: {_elsewhere(answer, pod)}"
    else:
        yield "Gets no place: it is not planned for"
    for move in answer.moves:
        yield from move_lines(move)
    for refusal in answer.refusals:
        yield f"  {refusal.guard} {refusal.subject}: {refusal.message}"


def _elsewhere(answer: PodAnswer, pod: Pod) -> str:
    if not any(vm.name == pod.node for vm in answer.vms):
        return f"node {pod.node} is not known"
    return "its workload needs fewer replicas, or its VM goes"


# ----- VMs


def _vms(answer: PodAnswer, limit: int | None) -> Iterator[str]:
    there = [vm for vm in answer.vms if not vm.new]
    able = sum(why.takes(vm.now) for vm in there)
    yield f"VMs: {able} of {len(there)} would take it as they are now"
    if answer.scheduler:
        yield f"  kube-scheduler: {answer.scheduler}"
    groups: defaultdict[tuple[int, str], list[tuple[VmAnswer, str]]] = defaultdict(list)
    for vm in answer.vms:
        order, heading, detail = _verdict(vm, answer)
        groups[order, heading].append((vm, detail))
    for (_, heading), members in sorted(
        groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])
    ):
        yield f"  {_count(len(members), 'VM')}: {heading}"
        for vm, detail in members[:limit]:
            text = f" {detail}" if detail else ""
            pool = f" ({vm.pool})" if vm.pool else ""
            yield f"    {vm.name}{pool}{':' if text else ''}{text}"
        if limit is not None and len(members) > limit:
            yield f"    and {len(members) - limit:,} more (--all)"


def _verdict(vm: VmAnswer, answer: PodAnswer) -> tuple[int, str, str]:
    """Rank of a group of VMs, what its VMs have in common, and what is this one's own."""
    if vm.name == answer.place:
        here = "it runs here and stays" if vm.name == answer.pod.node else "it goes here"
        return 0, here, _numbers(vm.now) if vm.now else ""
    runs = "it runs here" if vm.name == answer.pod.node else ""
    if runs and why.takes(vm.now):
        return 0, runs, "the plan retires the VM" if vm.retired else ""
    if vm.new:
        if why.takes(vm.now):
            return 1, "launched by the plan; would take it too", ""
        return 5, f"launched by the plan; {_words(vm.now)}", _numbers(vm.now)
    if not why.takes(vm.now):
        words = _words(vm.now)
        if vm.victims:
            words += "; would fit by preemption"
        return 3, words, _numbers(vm.now) + _victims(vm)
    if vm.retired:
        return 2, "would take it, but the plan retires it", ""
    if not why.takes(vm.then):
        return 2, f"room goes to other pods of the plan; then {_words(vm.then)}", _numbers(vm.then)
    if answer.place:
        return 1, "would take it too; its place suits it no worse", ""
    return 1, "would take it", ""


def _words(found: list[Obstacle]) -> str:
    """What is in the way, each once, in the scheduler's order."""
    return "; ".join(dict.fromkeys(obstacle.words for obstacle in found))


def _numbers(found: list[Obstacle]) -> str:
    return "; ".join(obstacle.numbers for obstacle in found if obstacle.numbers)


def _victims(vm: VmAnswer) -> str:
    if not vm.victims:
        return ""
    return f"; preempts at most {_count(vm.victims, 'pod')} of a lower priority"


# ----- pools


def _pools(answer: PodAnswer) -> Iterator[str]:
    yield "Pools" if answer.pools else "Pools: there are none"
    for pool in answer.pools:
        yield f"  {pool.name}: {_count(pool.vms, 'VM')}"
        growths: defaultdict[str, list[str]] = defaultdict(list)
        for vm in answer.vms:
            if vm.pool == pool.name and vm.growth:
                growths[vm.growth].append(vm.name)
        ordered = sorted(growths.items(), key=lambda item: (-len(item[1]), item[0]))
        for text, names in ordered[:_GROWTHS]:
            more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
            yield f"    Grow {names[0]}{more}: {text}"
        if ordered[_GROWTHS:]:
            yield f"    Grow {sum(len(n) for _, n in ordered[_GROWTHS:]):,} further VMs: likewise"
        if pool.could:
            needed = "; not needed, it has a place" if answer.place else ""
            yield f"    Launch: could be, {pool.could}{needed}"
        for text, number in pool.lacks.most_common():
            sites = f" (on {number:,} hosts or zones)" if number > 1 else ""
            yield f"    Launch: {text}{sites}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun if number == 1 else noun + 's'}"
