"""`make fuzz`: many random worlds, and a minimal reproduction of each disagreement."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from differential.cluster import Cluster
from differential.compare import Disagreement
from differential.generate import FEATURES, Json, mixed
from differential.runner import NO_HEARTBEAT_SECONDS, SLOTS, Slots, compare_all
from differential.shrink import shrink
from plimsoll_testenv import ControlPlane

WORLDS_A_SEED = 1_000_000
TOLD_EVERY = 100
FOUND = Path("build/disagreements")


def main() -> int:
    """Compare; 1 if anything disagrees."""
    parser = argparse.ArgumentParser(prog="differential", description=__doc__)
    parser.add_argument("--seed", type=int, help="which worlds; default: others each time")
    parser.add_argument("--worlds", type=int, default=2000, help="how many (%(default)s)")
    parser.add_argument("--world", type=int, help="only this one")
    parser.add_argument("--features", help=f"only some of {', '.join(FEATURES)}")
    parser.add_argument(
        "--without-nomination",
        action="store_true",
        help="let the scheduler place pods by its own scores, and count what is left pending",
    )
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else int(time.time()) % 10_000
    first = arguments.world if arguments.world is not None else seed * WORLDS_A_SEED
    numbers = range(first, first + (1 if arguments.world is not None else arguments.worlds))
    features = tuple(arguments.features.split(",")) if arguments.features else FEATURES
    print(f"seed {seed}: worlds {numbers[0]} to {numbers[-1]}", flush=True)
    with ControlPlane.start(node_monitor_grace_period=NO_HEARTBEAT_SECONDS) as control_plane:
        return asyncio.run(
            fuzz(
                str(control_plane.kubeconfig),
                numbers,
                features,
                nominate=not arguments.without_nomination,
            )
        )


async def fuzz(
    kubeconfig: str, numbers: range, features: tuple[str, ...], *, nominate: bool
) -> int:
    """Compares worlds; shrinks and prints those that disagree."""
    began = time.monotonic()

    def worlds() -> Iterator[tuple[str, list[Json]]]:
        for done, number in enumerate(numbers):
            if done and not done % TOLD_EVERY:
                print(f"{done} of {len(numbers)}: {time.monotonic() - began:.0f} s", flush=True)
            yield str(number), mixed(number, features)

    def tell(name: str, disagreements: list[Disagreement]) -> None:
        for disagreement in disagreements:
            print(f"world {name}: {disagreement}", flush=True)

    async with Cluster.connect(kubeconfig, SLOTS) as cluster:
        slots = Slots(cluster)
        found, counts = await compare_all(slots, worlds(), nominate=nominate, found=tell)
        print(_summary(counts, time.monotonic() - began), flush=True)
        for name, disagreements in found.items():
            smallest = await _smallest(slots, mixed(int(name), features), disagreements)
            path = FOUND / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(smallest)
            print(f"--- world {name}, as small as it gets ({path}):\n{smallest}", flush=True)
    print(f"{len(found)} of {len(numbers)} worlds disagree", flush=True)
    return 1 if found else 0


async def _smallest(slots: Slots, manifests: list[Json], found: list[Disagreement]) -> str:
    kinds = {disagreement.kind for disagreement in found}

    async def disagrees(smaller: list[Json]) -> bool:
        result = await slots.compare(smaller)
        return bool(kinds & {disagreement.kind for disagreement in result.disagreements})

    smallest = await shrink(manifests, disagrees)
    return yaml.safe_dump_all(smallest, sort_keys=False)


def _summary(counts: Counter[str], seconds: float) -> str:
    words = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return f"{seconds:.0f} s: {words}"


if __name__ == "__main__":
    sys.exit(main())
