"""What the tests on libvirt hosts share."""

from plimsoll_site.pytest_plugin import libvirt_site, new_libvirt_site

__all__ = ["libvirt_site", "new_libvirt_site"]
