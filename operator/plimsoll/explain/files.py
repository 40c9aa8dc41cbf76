"""What is explained from files, as ``plimsoll plan`` reads them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from plimsoll.explain.facts import Facts
from plimsoll.offline.files import load
from plimsoll.world.assemble import assemble


def from_files(paths: Sequence[str], moment: float | None, expendable_below: int) -> Facts:
    """Reads files, directories and ``-``. ``moment``: None is that of the newest measurement.

    ``expendable_below``: no VM is kept, grown or launched for pods of a lower priority.

    Raises:
        BadInput: with everything that is wrong in all the files.
    """
    loaded = load(paths)
    now = moment if moment is not None else loaded.moment
    now = now if now is not None else time.time()
    snapshot = assemble(loaded.objects, loaded.observations, now, expendable_below=expendable_below)
    return Facts(loaded.objects, snapshot, now, loaded.notes)
