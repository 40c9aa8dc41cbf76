"""Why a VM cannot be given its user data."""

from __future__ import annotations

from plimsoll.hypervisors.contract import Invalid


class BootstrapError(Invalid):
    """Something that a person must change; the text says what, and where.

    One of the provider contract's errors, so that the life cycle treats it as it
    treats a VM that the hypervisor refuses.
    """
