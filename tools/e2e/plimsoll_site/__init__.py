"""A site of libvirt hosts on this one machine, for tests, stories and people.

Each host is its own set of Linux namespaces (network, mounts, processes, host name) with a
libvirtd and a virtlogd of its own, configured as on a Debian host: a storage pool `default`, a
network `default` (bridge `virbr0`, DHCP), QEMU with KVM where this machine has it. To its clients
it is a machine: it has a URI, a name, an UUID, and its guests have addresses that this machine
reaches and from which they reach it.

    from plimsoll_site import Site

    with Site.start(hosts=2, images={"node.qcow2": path}) as site:
        a, b = site.hosts
        a.uri                       # qemu+unix:///system?socket=..., as libvirt.open takes it
        site.address                # this machine as guests of every host see it
        a.virsh("list", "--all")    # raises SiteError with what virsh said
        a.kill_daemon(); a.start_daemon()      # libvirtd dies; its VMs run on
        a.freeze_daemon(); a.thaw_daemon()     # it hangs: connections are taken, nothing answers
        a.kill_vm("web-1")          # QEMU dies, the host lives
        a.unplug(); a.plug()        # guests lose the network; the daemon is still reachable
        a.power_off(); a.boot()     # the machine dies with all its VMs, and comes back; disks stay

Tests take the fixture `libvirt_site` (two hosts for the session) or `new_libvirt_site` (a function
that starts one of their own) from `plimsoll_site.pytest_plugin`; both skip, with the reason, where
the machine cannot. People use `python -m plimsoll_site up`.

It takes root, Linux, and Debian's packages libvirt-daemon-system, libvirt-clients, dnsmasq-base,
qemu-system-x86 and qemu-utils; `obstacle()` says what is missing. Everything ends with the process
that started it, however that ends: the hosts are children of a supervisor.
"""

from plimsoll_site.errors import SiteError
from plimsoll_site.host import Host
from plimsoll_site.requirements import kvm_obstacle, obstacle
from plimsoll_site.site import Site

__all__ = ["Host", "Site", "SiteError", "kvm_obstacle", "obstacle"]
