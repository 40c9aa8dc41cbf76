"""The four kinds, one a file. The CRD generator's only input."""

from plimsoll.api.containerworkload import ContainerWorkload
from plimsoll.api.hypervisor import Hypervisor
from plimsoll.api.vmnode import VMNode
from plimsoll.api.vmpool import VMPool

KINDS = (Hypervisor, VMPool, VMNode, ContainerWorkload)

__all__ = ["KINDS", "ContainerWorkload", "Hypervisor", "VMNode", "VMPool"]
