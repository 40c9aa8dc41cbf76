"""A proven lower bound of the price: a linear relaxation, solved by HiGHS.

Variables: how many VMs of each type (x), and how many pods of each class on each type (y),
both as real numbers. What every true answer keeps is kept:

- the pods on VMs of a type ask for no more CPU, memory and places than these VMs have, what
  is reserved on each VM left out;
- every pod is on some type that is large enough for it alone;
- of pods that must be apart from each other on nodes (anti-affinity of a group to itself by
  hostname) a VM carries one at most.

Left out, so that the bound may be too low but never too high: that VMs and pods are whole,
spread over zones and nodes, affinity by zone (prices are equal in all zones).
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import highspy
import numpy as np

from plimsoll_bench.objects import HOSTNAME, Json, MachineType, requests_of

Class = tuple[int, int, str]
"""Millicores, bytes, and the group of those that must be apart; empty: none."""


def lower_bound(pods: Sequence[Json], types: Sequence[MachineType]) -> float:
    """A price that no set of VMs of these types that carries all the pods can go below.

    Raises:
        ValueError: some pod is too large for every type.
    """
    classes = Counter(_class(pod) for pod in pods)
    sizes = _needed(types, classes)
    model = _quiet_highs()
    model.passModel(_model(classes, sizes))
    model.run()
    if model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise ValueError("some pod is too large for every type")
    return float(model.getInfo().objective_function_value)


def _quiet_highs() -> highspy.Highs:
    """HiGHS without its banner, which it prints before it can be told not to."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        model = highspy.Highs()  # type: ignore[no-untyped-call]
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
    model.setOptionValue("output_flag", False)
    return model


def _class(pod: Json) -> Class:
    terms = (
        pod["spec"]
        .get("affinity", {})
        .get("podAntiAffinity", {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", ())
    )
    labels = pod["metadata"].get("labels", {})
    groups = [
        json.dumps(term["labelSelector"], sort_keys=True)
        for term in terms
        if term["topologyKey"] == HOSTNAME
        and term["labelSelector"]["matchLabels"].items() <= labels.items()
    ]
    return (*requests_of(pod), groups[0] if groups else "")


def _needed(types: Sequence[MachineType], classes: Counter[Class]) -> list[MachineType]:
    """The types without those that a mix of two others equals in everything.

    Where each type is as much larger than the one before as that was (all of Karpenter's
    are), those between the first that holds every class and the last are such mixes, in a
    relaxation with real numbers.
    """
    whole = [
        number
        for number, size in enumerate(types)
        if all(size.cpu >= cpu and size.memory >= memory for cpu, memory, _ in classes)
    ]
    if not whole:
        raise ValueError("some pod is too large for every type")
    steps = {
        (b.cpu - a.cpu, b.memory - a.memory, b.max_pods - a.max_pods, round(b.price - a.price, 9))
        for a, b in pairwise(types)
    }
    if len(steps) != 1:
        return list(types)
    return [*types[: whole[0] + 1], types[-1]]


def _model(classes: Counter[Class], types: Sequence[MachineType]) -> highspy.HighsLp:
    groups = sorted({group for *_, group in classes if group})
    kinds = list(classes)
    resources = 3
    per_type = resources + len(groups)
    rows = len(types) * per_type + len(kinds)
    # Row of a class: all its pods are somewhere. Rows of a type: use minus what is there <= 0.
    lower, upper = np.full(rows, -highspy.kHighsInf), np.zeros(rows)
    for number, kind in enumerate(kinds):
        row = len(types) * per_type + number
        lower[row] = upper[row] = classes[kind]
    starts, indices, values, costs = [0], list[int](), list[float](), list[float]()

    def column(cost: float, entries: list[tuple[int, float]]) -> None:
        costs.append(cost)
        indices.extend(row for row, _ in entries)
        values.extend(value for _, value in entries)
        starts.append(len(indices))

    for number, size in enumerate(types):
        base = number * per_type
        there = [size.cpu / 1000, size.memory / 2**30, size.max_pods, *([1.0] * len(groups))]
        column(size.price, [(base + place, -amount) for place, amount in enumerate(there)])
        for row, (cpu, memory, group) in enumerate(kinds):
            if cpu > size.cpu or memory > size.memory:
                continue
            entries = [(base, cpu / 1000), (base + 1, memory / 2**30), (base + 2, 1.0)]
            if group:
                entries.append((base + resources + groups.index(group), 1.0))
            column(0.0, [*entries, (len(types) * per_type + row, 1.0)])
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(costs), rows
    model.col_cost_ = np.array(costs)
    model.col_lower_ = np.zeros(len(costs))
    model.col_upper_ = np.full(len(costs), highspy.kHighsInf)
    model.row_lower_, model.row_upper_ = lower, upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.array(starts)
    model.a_matrix_.index_ = np.array(indices)
    model.a_matrix_.value_ = np.array(values)
    return model
