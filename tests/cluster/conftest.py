"""What the tests against a real API server share."""

from plimsoll_testenv.pytest_plugin import control_plane

__all__ = ["control_plane"]
