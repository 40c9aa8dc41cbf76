"""The fixtures `libvirt_site` and `new_libvirt_site`, for a conftest to import."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from plimsoll_site.requirements import obstacle
from plimsoll_site.site import Site

__all__ = ["libvirt_site", "new_libvirt_site"]


@pytest.fixture(scope="session")
def libvirt_site() -> Iterator[Site]:
    """Two hosts for the whole session, or for each worker of pytest-xdist.

    Tests share it: each gives its VMs names of its own, removes them, and leaves the hosts on.
    """
    _skip_without()
    with Site.start(hosts=2) as site:
        yield site


@pytest.fixture
def new_libvirt_site() -> Iterator[Callable[..., Site]]:
    """Starts a site as `Site.start` does, for one test that breaks it; ended with the test."""
    _skip_without()
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Site.start(*args, **kwargs))


def _skip_without() -> None:
    if reason := obstacle():
        pytest.skip(reason)
