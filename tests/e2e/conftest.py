"""What the tests on libvirt hosts share."""

from __future__ import annotations

import pytest

from plimsoll_site import Site
from plimsoll_site.pytest_plugin import libvirt_site, new_libvirt_site
from plimsoll_testenv.pytest_plugin import control_plane

__all__ = ["control_plane", "libvirt_site", "new_libvirt_site", "site"]


@pytest.fixture
def site(libvirt_site: Site) -> Site:
    """The shared hosts, for the provider `libvirt`."""
    for module in ("libvirt", "pycdlib"):
        pytest.importorskip(module, reason="plimsoll-operator[libvirt] is not installed")
    return libvirt_site
