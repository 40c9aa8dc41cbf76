"""Errors and delays of the simulated hypervisor's API, on order of ``spec.simulated.faults``.

An error comes after its delay and without any effect. A delay alone comes after
the effect, so that a caller who gives up does not know what has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from plimsoll.api.hypervisor import HypervisorSpec, SimulatedFault
from plimsoll.hypervisors import contract
from plimsoll.simulator.placement import simulated

_ERRORS: Final[dict[str, type[contract.HypervisorError]]] = {
    kind.__name__: kind
    for kind in (
        contract.Retryable,
        contract.RateLimited,
        contract.NoCapacity,
        contract.Conflict,
        contract.NotSupported,
        contract.Invalid,
    )
}


async def refuse(spec: HypervisorSpec, operation: str, *hosts: str) -> None:
    """Fails a call that concerns these hosts, if an error is on order."""
    for fault in _faults(spec, operation, hosts):
        if fault.error:
            await asyncio.sleep(fault.delay)
            raise _error(fault)


def refuse_at_once(spec: HypervisorSpec, operation: str, host: str) -> None:
    """As ``refuse``, for a host that turns out only in the midst of the call."""
    for fault in _faults(spec, operation, (host,)):
        if fault.error:
            raise _error(fault)


async def linger(spec: HypervisorSpec, operation: str, *hosts: str) -> None:
    """Delays the answer of a call whose effect has happened, if that is on order."""
    for fault in _faults(spec, operation, hosts):
        if not fault.error:
            await asyncio.sleep(fault.delay)


def _faults(spec: HypervisorSpec, operation: str, hosts: Iterable[str]) -> list[SimulatedFault]:
    concerned = set(hosts)
    return [
        fault
        for fault in simulated(spec).faults
        if fault.operation == operation and (not fault.host or fault.host in concerned)
    ]


def _error(fault: SimulatedFault) -> contract.HypervisorError:
    where = f" at {fault.host}" if fault.host else ""
    return _ERRORS[fault.error](f"{fault.error} on order: {fault.operation}{where}")
