"""Runs the programs of a build so that none outlives it, and shows that long ones are alive."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from plimsoll_nodeimage.errors import NodeImageError
from plimsoll_testenv.binaries import Progress
from plimsoll_testenv.processes import Processes

Say = Callable[[str], None]
POLL_SECONDS = 0.1


class Commands:
    """Programs of one build, in one environment."""

    def __init__(self, env: Mapping[str, str], say: Say) -> None:
        self._env = env
        self._say = say

    def run(self, what: str, *steps: Sequence[str]) -> None:
        """Run commands one after the other as one named step.

        Raises:
            NodeImageError: one failed; the text ends with the last lines of its output.
        """
        with Progress(what, self._say) as progress:
            for argv in steps:
                self._one(argv, progress)

    def _one(self, argv: Sequence[str], progress: Progress) -> None:
        processes = Processes("plimsoll-image-")
        try:
            processes.start("program", argv, self._env)
            while not (ended := processes.exited()):
                time.sleep(POLL_SECONDS)
                progress.tick()
            if ended["program"] != 0:
                raise NodeImageError(f"{argv[0]} failed:\n{processes.log_tail('program')}")
        finally:
            processes.stop()
