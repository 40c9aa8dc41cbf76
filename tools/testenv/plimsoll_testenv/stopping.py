"""What is stopped at the end of a `with` block."""

from __future__ import annotations

from typing import Self


class Stopping:
    """Base of what was started and must be ended: `with` calls `stop` on the way out."""

    def stop(self) -> None:
        """End it."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
