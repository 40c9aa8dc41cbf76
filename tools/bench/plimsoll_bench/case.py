"""What every case of the benchmark is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from plimsoll_bench.objects import Json, write
from plimsoll_bench.settings import Settings


@dataclass(frozen=True)
class Case:
    """Sizes, a folder for files, and somewhere to tell how far it is."""

    settings: Settings
    folder: Path
    say: Callable[[str], None]

    def file(self, name: str, *groups: Sequence[Json]) -> Path:
        """Writes objects as one List; the path."""
        return write(self.folder / f"{name}.json", *groups)
