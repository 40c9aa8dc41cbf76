"""What ``plimsoll explain`` is asked."""

from __future__ import annotations

from typing import Final, NamedTuple

_POOL_KINDS: Final = ("vmpool", "vmpools", "vmp")
_WORKLOAD_KINDS: Final = ("containerworkload", "containerworkloads", "cw", "workload")
_POD_KINDS: Final = ("pod", "pods", "po")


class NotThere(Exception):
    """What is to be explained does not exist, or cannot be read; the text says which."""


class Question(NamedTuple):
    """What is to be explained."""

    pool: str = ""
    workload: str = ""
    """``namespace/name``."""
    pod: str = ""
    """``namespace/name``. Exactly one of the three is not empty."""

    @classmethod
    def parse(cls, text: str, namespace: str) -> Question:
        """``KIND/NAME``, ``pod/NAMESPACE/NAME``, or a workload as ``[NAMESPACE/]NAME``."""
        kind, slash, name = text.partition("/")
        if slash and kind in _POOL_KINDS:
            return cls(pool=name)
        if slash and kind in _WORKLOAD_KINDS:
            return cls(workload=_key(name, namespace))
        if slash and kind in _POD_KINDS:
            return cls(pod=_key(name, namespace))
        return cls(workload=_key(text, namespace))

    @property
    def concern(self) -> str:
        """As moves are sorted by."""
        if self.pool:
            return f"vmpool/{self.pool}"
        return f"workload/{self.workload}" if self.workload else f"pod/{self.pod}"


def _key(name: str, namespace: str) -> str:
    return name if "/" in name else f"{namespace}/{name}"
