"""The fixture `control_plane`, for a conftest to import.

(`pytest_plugins` would do only in the conftest at the top of the tests.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from plimsoll_testenv.control_plane import ControlPlane

__all__ = ["control_plane"]

NODE_MONITOR_GRACE_PERIOD_SECONDS = 8.0


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Iterator[ControlPlane]:
    """One control plane for the whole session, or for each worker of pytest-xdist.

    Tests share it: each works in a namespace, and on nodes, of its own.
    """
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    worker = os.environ.get("PYTEST_XDIST_WORKER")

    def say(line: str) -> None:
        prefix = f"[{worker}] " if worker else "\n"
        with capture.global_and_fixture_disabled():
            print(f"{prefix}{line}", file=sys.stderr, flush=True)

    with ControlPlane.start(
        node_monitor_grace_period=NODE_MONITOR_GRACE_PERIOD_SECONDS, say=say
    ) as started:
        yield started
        started.require_running()
