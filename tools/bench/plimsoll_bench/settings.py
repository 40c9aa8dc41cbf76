"""How large and how often: the full benchmark, and a quick one that only shows that it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Sizes of the cases; each is a number of pods unless it says otherwise."""

    repeats: int
    """Measurements of which the median counts."""
    mixes: tuple[int, ...]
    """Karpenter's mix."""
    judged_mix: int
    """The one of `mixes` that has goals."""
    once_from: int
    """Mixes of this size and above are given to Karpenter only once."""
    plain: int
    """Pods without rules, for the bound."""
    pending: int
    """Equal pending pods, 50 to a VM."""
    filled_vms: int
    """VMs at 40% with 40 pods each, to be thinned out."""
    growth: tuple[int, int]
    """From so many to so many pods."""
    held_vms: int
    """VMs of the cluster that is planned from cold and anew after a change; 25 pods each."""
    changes: int
    """Single changes to that cluster."""
    cluster_vms: int
    """VMs of each of the clusters that are consolidated."""
    live_vms: int
    """VMs of the live case; 30 pods each."""
    live_pods: int
    """Pods that come one at a time."""
    live_idle_seconds: float
    """For how long the idle operator is watched."""


FULL = Settings(
    repeats=3,
    mixes=(1_000, 5_000, 10_000, 20_000),
    judged_mix=10_000,
    once_from=20_000,
    plain=10_000,
    pending=50_000,
    filled_vms=2_000,
    growth=(10_000, 100_000),
    held_vms=2_000,
    changes=40,
    cluster_vms=300,
    live_vms=1_000,
    live_pods=100,
    live_idle_seconds=60.0,
)

QUICK = Settings(
    repeats=1,
    mixes=(200, 500),
    judged_mix=500,
    once_from=500,
    plain=500,
    pending=1_000,
    filled_vms=40,
    growth=(500, 5_000),
    held_vms=40,
    changes=6,
    cluster_vms=30,
    live_vms=20,
    live_pods=5,
    live_idle_seconds=5.0,
)
