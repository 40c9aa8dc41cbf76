"""The libvirt library of this process: loaded when first needed, with its event loop.

libvirt-python is an optional extra, and it ships no types: what comes from it is
``Any`` here, and stays inside the threads that speak to hosts.
"""

from __future__ import annotations

import importlib
import logging
import threading
from typing import Any, Final

from plimsoll.hypervisors.contract import NotSupported

log = logging.getLogger(__name__)

Api = Any
"""The module ``libvirt``."""
Connection = Any
"""A ``virConnect``."""
Domain = Any
"""A ``virDomain``."""
Pool = Any
"""A ``virStoragePool``."""
Volume = Any
"""A ``virStorageVol``."""

_HOW_TO_INSTALL: Final = (
    "the provider libvirt needs libvirt-python, which is not installed: install "
    "plimsoll-operator[libvirt] (its build needs a C compiler, pkg-config and libvirt's headers)"
)
_lock = threading.Lock()
_loaded: list[Api] = []


def load() -> Api:
    """The module ``libvirt``, with one event loop for the whole process running.

    Without that loop there are neither keepalive messages nor events.

    Raises:
        NotSupported: it is not installed.
    """
    with _lock:
        if not _loaded:
            try:
                api = importlib.import_module("libvirt")
            except ImportError as error:
                raise NotSupported(f"{_HOW_TO_INSTALL}: {error}") from None
            # By default libvirt prints each error to stderr besides raising it.
            api.registerErrorHandler(lambda _context, _error: None, None)
            api.virEventRegisterDefaultImpl()
            thread = threading.Thread(
                target=_run_events, args=(api,), name="libvirt-events", daemon=True
            )
            thread.start()
            _loaded.append(api)
        return _loaded[0]


def _run_events(api: Api) -> None:
    # A timer that does nothing: without any the loop could not be woken to see new ones.
    api.virEventAddTimeout(1000, lambda _timer, _opaque: None, None)
    while True:
        try:
            api.virEventRunDefaultImpl()
        except api.libvirtError as error:
            log.warning("libvirt's event loop: %s", error)
