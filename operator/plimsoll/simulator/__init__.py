"""The simulated data centre: what a hypervisor and its machines would do by themselves.

It runs apart from the operator, as a data centre does: ``plimsoll simulate``, or
``simulator.run.run`` inside another process. Everything it knows lies in
ConfigMaps, so that ending it loses nothing but time.

``records`` is the form of those ConfigMaps, ``placement`` and ``ledger`` share
out hosts, ``physics`` says what time does to a VM, ``nodes`` what that means for
its node, ``run`` carries it out; ``load`` and ``metrics`` measure the containers.
"""
