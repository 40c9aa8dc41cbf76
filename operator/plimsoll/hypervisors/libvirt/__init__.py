"""Provider ``libvirt``: hosts with KVM/QEMU, each spoken to through its own libvirt daemon."""
