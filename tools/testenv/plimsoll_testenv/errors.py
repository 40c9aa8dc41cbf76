"""The one error that this package raises on purpose."""

from __future__ import annotations


class TestEnvError(Exception):
    """No control plane could be found, built or started; the text says why and what to do."""

    __test__ = False  # the name begins like a test class, and pytest would try to collect it
