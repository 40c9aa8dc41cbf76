"""A Kubernetes control plane for tests and demonstrations, found, built or started on the spot."""

from plimsoll_testenv.control_plane import ControlPlane
from plimsoll_testenv.discovery import Choice, Source, discover
from plimsoll_testenv.errors import TestEnvError

__all__ = ["Choice", "ControlPlane", "Source", "TestEnvError", "discover"]
