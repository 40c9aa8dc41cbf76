"""What all hosts answered when asked for their domains, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping

from plimsoll.hypervisors.contract import (
    Conflict,
    HypervisorError,
    Listing,
    Retryable,
    VmInfo,
)
from plimsoll.hypervisors.libvirt.reading import Seen
from plimsoll.hypervisors.libvirt.sightings import Sightings
from plimsoll.world.snapshot import Frozen


class Survey(Frozen, frozen=True, kw_only=True):
    """One look at all hosts at the same time."""

    hypervisor: str
    vms: tuple[VmInfo, ...]
    """Ours; those last seen on a host that is silent now have power Unknown."""
    hosts: frozenset[str]
    errors: dict[str, str]
    """Host that is silent -> why."""
    names: dict[str, str]
    """Name of every domain seen, of whomever -> host."""

    def complete(self) -> tuple[VmInfo, ...]:
        """Our VMs.

        Raises:
            Retryable: a host was silent.
        """
        self._require_all()
        return self.vms

    def listing(self) -> Listing:
        """Our VMs, as far as hosts answered.

        Raises:
            Retryable: all were silent.
        """
        if self.hosts <= self.errors.keys():
            self._require_all()
        return Listing(vms=self.vms, silent=tuple(self.errors))

    def owned_by(self, owner_uid: str, host: str) -> tuple[VmInfo, ...]:
        """The VMs of this owner. With ``host``, only that one must have answered.

        Raises:
            Retryable: another may exist where nobody could look.
        """
        if host not in self.hosts or host in self.errors:
            self._require_all()
        return tuple(vm for vm in self.vms if vm.owner_uid == owner_uid)

    def require_free_name(self, name: str) -> None:
        """Checks that no host has a domain of this name, as a VM's name is also its node's.

        Raises:
            Conflict: one has.
        """
        if name in self.names:
            raise Conflict(
                f"{self.hypervisor}: host {self.names[name]} has a domain {name} that is not this "
                "VMNode's VM: rename or remove that domain, or delete the VMNode"
            )

    def _require_all(self) -> None:
        if self.errors:
            raise Retryable(f"{self.hypervisor}: {'; '.join(self.errors.values())}")


def survey(
    hypervisor: str,
    cluster: str,
    answers: Mapping[str, list[Seen] | HypervisorError],
    sightings: Sightings,
) -> Survey:
    """Puts the hosts' answers together, and notes them."""
    vms: list[VmInfo] = []
    errors: dict[str, str] = {}
    names: dict[str, str] = {}
    for host, answer in answers.items():
        if isinstance(answer, HypervisorError):
            errors[host] = str(answer)
            continue
        mine = [seen.info(host) for seen in answer if seen.mark and seen.mark.cluster == cluster]
        names |= {seen.name: host for seen in answer}
        sightings.listed(host, mine)
        vms += mine
    vms += sightings.on(errors, without=vms)
    return Survey(
        hypervisor=hypervisor,
        vms=tuple(vms),
        hosts=frozenset(answers),
        errors=errors,
        names=names,
    )
