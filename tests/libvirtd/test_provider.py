"""The provider ``libvirt`` against real libvirt daemons and QEMU."""

from __future__ import annotations

import pytest

from cluster.provider_contract import ProviderContract
from libvirt_bench import LibvirtBench

pytestmark = pytest.mark.xdist_group("libvirt")


class TestContract(ProviderContract):
    """The contract of every provider."""

    @pytest.fixture
    def bench(self, bench: LibvirtBench) -> LibvirtBench:
        return bench
