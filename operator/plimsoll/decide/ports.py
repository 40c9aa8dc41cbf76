"""Host ports in use, by protocol and number.

Source: kube-scheduler's ``HostPortInfo``: an address conflicts with itself and with
the wildcard.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

Key = TypeVar("Key", bound=Hashable)
T = TypeVar("T")

_WILD: Final = frozenset({"", "0.0.0.0"})


class Port:
    """Pods that have one port of one protocol on their node's addresses."""

    def __init__(self) -> None:
        self._at: dict[int, dict[str, int]] = {}

    def add(self, slot: int, address: str, number: int) -> None:
        """So many more pods that have it on a VM."""
        addresses = self._at.setdefault(slot, {})
        count(addresses, address, number)
        if not addresses:
            del self._at[slot]

    def arrange(self, moved: Sequence[int]) -> None:
        """VMs got other slots: by the slot that each had, the one it has now."""
        self._at = moved_to(moved, self._at)

    def taken(self, address: str) -> list[int]:
        """Slots of the VMs where it is in use on this address."""
        if address in _WILD:
            return list(self._at)
        return [
            slot
            for slot, addresses in self._at.items()
            if address in addresses or not _WILD.isdisjoint(addresses)
        ]

    def taken_at(self, slot: int, address: str) -> bool:
        """Whether it is in use there."""
        addresses = self._at.get(slot)
        if not addresses:
            return False
        return address in _WILD or address in addresses or not _WILD.isdisjoint(addresses)


class Ports:
    """All host ports that pods ask for."""

    def __init__(self) -> None:
        self._ports: dict[tuple[str, int], Port] = {}

    def of(self, protocol: str, number: int) -> Port:
        """One port."""
        return self._ports.setdefault((protocol, number), Port())

    def arrange(self, moved: Sequence[int]) -> None:
        """VMs got other slots: by the slot that each had, the one it has now."""
        for port in self._ports.values():
            port.arrange(moved)


def count(numbers: dict[Key, int], key: Key, more: int) -> None:
    """Counts so many more of a key; one of which there are none is not named."""
    number = numbers.get(key, 0) + more
    if number:
        numbers[key] = number
    else:
        numbers.pop(key, None)


def moved_to(moved: Sequence[int], by_slot: dict[int, T]) -> dict[int, T]:
    """What is kept by slot, after VMs got other slots: by the one that each had, that of now."""
    return {moved[slot]: what for slot, what in by_slot.items()}
