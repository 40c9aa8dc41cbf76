"""Back-off after failed launches, per pool and per host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from plimsoll.api import VMNode
from plimsoll.api.vmnode import Phase

FIRST_SECONDS: Final = 10.0
MOST_SECONDS: Final = 600.0
HOST_TIMES: Final = 3.0
"""By how much longer a host is left alone than the pool: the next launch is to try another."""
_LAUNCHING: Final = frozenset({Phase.REQUESTED, Phase.CREATING, Phase.BOOTING, Phase.JOINING})


class _Seen(NamedTuple):
    pool: str
    host: str
    """``hypervisor/host``; empty: not known."""
    launching: bool
    leaving: bool
    failures: int


class LaunchBackoff:
    """Doubles the pause with every failed launch, and forgets it with the first that succeeds.

    A launch failed when a VMNode's ``status.failures`` rises, or when a VMNode that
    nobody asked to leave vanishes before its VM was Ready.
    """

    def __init__(self) -> None:
        self._looked_at: dict[str, VMNode] = {}
        self._seen: dict[str, _Seen] = {}
        self._strikes: dict[str, int] = {}
        self._until: dict[str, float] = {}

    def observe(self, vmnodes: Iterable[VMNode], now: float) -> dict[str, float]:
        """Takes in all VMNodes as they are now; answers until when launches are blocked.

        Keys are pool names and ``hypervisor/host``, times seconds since the epoch.
        """
        looked_at = {vmnode.metadata.uid: vmnode for vmnode in vmnodes}
        current = {
            uid: self._seen[uid] if self._looked_at.get(uid) is vmnode else _seen(vmnode)
            for uid, vmnode in looked_at.items()
        }
        self._looked_at = looked_at
        for uid, seen in current.items():
            before = self._seen.get(uid)
            if seen.failures > (before.failures if before else 0):
                self._strike(seen, now)
            elif before is not None and before.launching and not (seen.launching or seen.leaving):
                self._forget(seen)
        for uid, seen in self._seen.items():
            if uid not in current and seen.launching and not seen.leaving:
                self._strike(seen, now)
        self._seen = current
        return {key: until for key, until in self._until.items() if until > now}

    def _strike(self, seen: _Seen, now: float) -> None:
        for key, times in ((seen.pool, 1.0), (seen.host, HOST_TIMES)):
            if key:
                strikes = self._strikes[key] = self._strikes.get(key, 0) + 1
                pause = min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** min(strikes - 1, 16))
                self._until[key] = now + times * pause

    def _forget(self, seen: _Seen) -> None:
        for key in (seen.pool, seen.host):
            self._strikes.pop(key, None)
            self._until.pop(key, None)


def _seen(vmnode: VMNode) -> _Seen:
    status = vmnode.status
    host = (status.host if status is not None else "") or vmnode.spec.host
    return _Seen(
        pool=vmnode.spec.pool,
        host=f"{vmnode.spec.hypervisor}/{host}" if host else "",
        launching=status is None or status.phase in _LAUNCHING,
        leaving=bool(vmnode.metadata.deletion_timestamp or vmnode.spec.retire),
        failures=status.failures if status is not None else 0,
    )
