"""The real Karpenter scheduler beside Plimsoll: ``tools/karpenterbench``, built once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from plimsoll_bench.objects import Answer, Machine

MODULE = Path(__file__).resolve().parents[2] / "karpenterbench"


class CannotBuild(RuntimeError):
    """There is no Go that could build Karpenter, or the build failed."""


@dataclass(frozen=True)
class Karpenter:
    """The built program."""

    program: Path

    @staticmethod
    def build(folder: Path) -> Karpenter:
        """Builds it into a folder; Go's own cache makes the second time quick.

        Raises:
            CannotBuild: with what is missing.
        """
        go = shutil.which("go")
        if go is None:
            raise CannotBuild("there is no `go` command; Karpenter needs Go 1.26 or newer")
        folder.mkdir(parents=True, exist_ok=True)
        program = folder / "karpenterbench"
        flags = ["-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]
        built = subprocess.run(
            [go, "-C", str(MODULE), "build", *flags, "-o", str(program), "."],
            env=os.environ | {"CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            raise CannotBuild(f"building tools/karpenterbench failed:\n{built.stderr.strip()}")
        return Karpenter(program)

    def solve(self, pods: Path) -> tuple[Answer, int]:
        """What Karpenter buys for a file of pods, and the most bytes that it had resident."""
        done = subprocess.run(
            [str(self.program), "-f", str(pods)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        result = json.loads(done.stdout)
        machines = tuple(
            Machine(
                name=f"{one['type']}-{number:05}",
                cpu=one["allocatableCPU"],
                memory=one["allocatableMemory"],
                max_pods=one["maxPods"],
                price=one["price"],
                zones=tuple(one["zones"]),
                pods=tuple(one["pods"]),
            )
            for number, one in enumerate(result["machines"])
        )
        answer = Answer(result["seconds"][0], machines, tuple(result["errors"]))
        return answer, result["maxRSSBytes"]
