"""The comparison as a JSON document, in exact figures. A public interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from plimsoll.compare.answer import answer
from plimsoll.compare.blast import Blast
from plimsoll.compare.comparison import Comparison
from plimsoll.compare.figures import Density, Figures

Json = dict[str, Any]


def document(comparison: Comparison, notes: Sequence[str] = ()) -> Json:
    """CPU in millicores, memory in bytes, cost in the pool's unit, shares of 1."""
    return {
        "answer": str(answer(comparison)),
        "containers": comparison.containers,
        "workloads": comparison.workloads,
        "replicatedWorkloads": comparison.replicated,
        "requests": {"cpu": comparison.cpu, "memory": comparison.memory},
        "ways": {way.value: _way(figures) for way, figures in comparison.figures.items()},
        "assumptions": [
            {
                "what": fact.what,
                "value": fact.value,
                "origin": fact.origin.value,
                "options": fact.options.split(", ") if fact.options else [],
            }
            for fact in comparison.facts
        ],
        "notes": [*notes, *comparison.notes],
    }


def _way(f: Figures) -> Json:
    return {
        "vms": f.vms,
        "hosts": f.hosts,
        "spareHosts": f.spare_hosts,
        "hostsMeasured": f.hosts_measured,
        "hostsBeyondInventory": f.beyond,
        "placed": f.placed,
        "unplaced": f.unplaced,
        "provisioned": {"cpu": f.cpu, "memory": f.memory},
        "requested": {"cpu": f.cpu_requested, "memory": f.memory_requested},
        "overhead": {
            "guests": f.guests,
            "guest": {"cpu": f.guest_cpu, "memory": f.guest_memory},
            "runtime": {"cpu": f.runtime_cpu, "memory": f.runtime_memory},
            "hypervisor": {"cpu": f.hypervisor_cpu, "memory": f.hypervisor_memory},
            "daemons": {"cpu": f.daemon_cpu, "memory": f.daemon_memory},
        },
        "cost": {
            "machines": f.cost_machines / 1000,
            "hostLicences": f.licences / 1000,
            "total": f.cost / 1000,
            "wholeHosts": f.cost_whole / 1000,
        },
        "containersPerVM": _density(f.per_vm),
        "containersPerHost": _density(f.per_host),
        "vmDies": _blast(f.vm_blast),
        "hostDies": _blast(f.host_blast),
    }


def _density(density: Density | None) -> Json | None:
    return None if density is None else asdict(density)


def _blast(found: Blast | None) -> Json | None:
    if found is None:
        return None
    return {
        "worstShare": found.worst_share,
        "meanShare": found.mean_share,
        "workloadsWhollyLost": found.worst_lost,
        "replicatedWorkloadsAtStake": found.exposed,
    }
