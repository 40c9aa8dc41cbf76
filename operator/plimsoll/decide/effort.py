"""How much a search may still try: what makes it anytime."""

from __future__ import annotations

from collections.abc import Callable


class Effort:
    """Counts what was tried, in pods taken up to be put elsewhere.

    The count makes a plan the same wherever it is worked out. A caller who must be
    done in time also says when time is up: whoever decides has no clock.
    """

    def __init__(self, pods: int, out_of_time: Callable[[], bool] | None = None) -> None:
        self._left = pods
        self._out_of_time = out_of_time

    def spend(self, pods: int) -> None:
        """So many more pods were tried."""
        self._left -= pods

    @property
    def spent(self) -> bool:
        """Whether to stop with what was found so far."""
        return self._left <= 0 or (self._out_of_time is not None and self._out_of_time())
