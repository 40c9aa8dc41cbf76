"""What the tests against real libvirt daemons share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from libvirt_bench import LibvirtBench
from plimsoll_site import Site
from plimsoll_site.pytest_plugin import libvirt_site, new_libvirt_site

__all__ = ["bench", "libvirt_site", "new_libvirt_site"]


@pytest.fixture
def bench(libvirt_site: Site) -> Iterator[LibvirtBench]:
    """Two hosts without VMs, as they are left again."""
    for module in ("libvirt", "pycdlib"):
        pytest.importorskip(module, reason="plimsoll-operator[libvirt] is not installed")
    fresh = LibvirtBench(libvirt_site)
    fresh.set_up()
    try:
        yield fresh
    finally:
        fresh.tear_down()
