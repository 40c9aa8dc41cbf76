"""Settings of the running operator: from ``PLIMSOLL_*`` variables, overridden by options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from plimsoll.world.snapshot import EXPENDABLE_BELOW

PREFIX: Final = "PLIMSOLL_"
LogFormat = Literal["auto", "json", "text"]


class SettingsError(ValueError):
    """A variable or option cannot be understood; the text says which and what to write."""


@dataclass(frozen=True)
class Settings:
    """All settings. Times are in seconds."""

    namespace: str = "plimsoll-system"
    """The operator's own namespace: credentials are read from there only."""
    kubeconfig: str | None = None
    """Path of a kubeconfig file; None: found as ``kubectl`` does, or the pod's account."""
    context: str | None = None
    """Context within it; None: the current one."""
    http_host: str = "0.0.0.0"
    http_port: int = 8080
    """Where /healthz, /readyz and /metrics are served; 0 takes any free port."""
    debounce: float = 0.2
    """How long a change waits at most until no more come, before deciding; at most 0.5."""
    metrics_interval: float = 10.0
    """How often the metrics API is asked."""
    conflict_retry: float = 30.0
    """How long a field that somebody else owns is left alone before it is tried again."""
    orphan_grace: float = 600.0
    """How old a VM with our mark and no VMNode must be before it is removed."""
    expendable_below: int = EXPENDABLE_BELOW
    """No VM is kept, grown or launched for pods of a lower priority."""
    preflight_retry: float = 0.0
    """With missing CRDs or permissions: 0 exits at once, else look again after so long."""
    log_format: LogFormat = "auto"
    """``auto``: text on a terminal, JSON elsewhere."""
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        if not 0 <= self.debounce <= 0.5:
            raise SettingsError(f"debounce is {self.debounce}: it must lie between 0 and 0.5 s")
        if self.metrics_interval <= 0 or self.conflict_retry <= 0:
            raise SettingsError("metrics_interval and conflict_retry must be greater than zero")
        if self.log_format not in get_args(LogFormat):
            raise SettingsError(f"log_format is {self.log_format!r}: write auto, json or text")

    @classmethod
    def load(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Settings:
        """Options that are not None win over variables, and those over the defaults.

        Raises:
            SettingsError: a value is not of its type or out of range.
        """
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable = PREFIX + item.name.upper()
            if options.get(item.name) is not None:
                values[item.name] = options[item.name]
            elif environ.get(variable):
                values[item.name] = _typed(variable, environ[variable], item.default)
        return cls(**values)


def _typed(variable: str, text: str, default: Any) -> Any:
    kind = type(default)
    if kind not in (int, float):
        return text
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{variable} is {text!r}: write a number") from None
