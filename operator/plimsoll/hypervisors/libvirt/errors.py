"""libvirt's errors in the words of the contract: one table."""

from __future__ import annotations

from typing import Final

from plimsoll.hypervisors.contract import (
    HypervisorError,
    Invalid,
    NoCapacity,
    NotSupported,
    Retryable,
)
from plimsoll.hypervisors.libvirt.library import Api

_BY_TEXT: Final[tuple[tuple[str, type[HypervisorError]], ...]] = (
    # libvirt has no codes of its own for these: they come from tools and the kernel.
    ("no space left on device", NoCapacity),
    ("disk quota exceeded", NoCapacity),
    ("cannot allocate memory", NoCapacity),
    ("cannot set up guest memory", NoCapacity),
    ("unable to find any firmware", Invalid),
    ("cannot find any suitable", Invalid),
)
_BY_CODE: Final[dict[str, type[HypervisorError]]] = {
    "VIR_ERR_XML_ERROR": Invalid,
    "VIR_ERR_XML_DETAIL": Invalid,
    "VIR_ERR_XML_INVALID_SCHEMA": Invalid,
    "VIR_ERR_INVALID_ARG": Invalid,
    "VIR_ERR_CONFIG_UNSUPPORTED": Invalid,
    "VIR_ERR_CPU_INCOMPATIBLE": Invalid,
    "VIR_ERR_OS_TYPE": Invalid,
    "VIR_ERR_UNKNOWN_HOST": Invalid,
    "VIR_ERR_NO_NETWORK": Invalid,
    "VIR_ERR_NO_STORAGE_POOL": Invalid,
    "VIR_ERR_NO_STORAGE_VOL": Invalid,
    "VIR_ERR_NO_SUPPORT": NotSupported,
    "VIR_ERR_ARGUMENT_UNSUPPORTED": NotSupported,
    "VIR_ERR_OPERATION_UNSUPPORTED": NotSupported,
    "VIR_ERR_DEVICE_MISSING": NotSupported,
}
"""Anything else is ``Retryable``: a failed login, a lost connection and a time-out say nothing
about the VM."""
_CONNECTION_LOST: Final = (
    "VIR_ERR_RPC",
    "VIR_ERR_NO_CONNECT",
    "VIR_ERR_INVALID_CONN",
    "VIR_ERR_SYSTEM_ERROR",
    "VIR_ERR_INTERNAL_ERROR",
)


def has_code(api: Api, error: Exception, *names: str) -> bool:
    """Whether it is one of these errors, such as ``VIR_ERR_NO_DOMAIN``."""
    code = getattr(error, "get_error_code", lambda: None)()
    return code is not None and any(getattr(api, name, None) == code for name in names)


def typed(api: Api, error: Exception, where: str) -> HypervisorError:
    """The contract's error for a ``libvirtError``. ``where`` names the host and what was tried.

    It holds no reference to the original, whose frames would keep libvirt's
    objects alive in threads that must not free them.
    """
    message = f"{where}: {error}"
    text = str(error).casefold()
    for part, kind in _BY_TEXT:
        if part in text:
            return kind(message)
    for name, kind in _BY_CODE.items():
        if has_code(api, error, name):
            return kind(message)
    return Retryable(message)


def may_have_lost_connection(api: Api, error: Exception) -> bool:
    """Whether the connection is to be made anew before the next call, to be sure."""
    return has_code(api, error, *_CONNECTION_LOST)
