"""The command line of ``plimsoll compare``. What it needs besides is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer


def _figure(metavar: str, text: str) -> Any:
    """An option that says what is else measured or assumed; the page names its default."""
    return typer.Option(metavar=metavar, help=text)


Text = Optional[str]  # noqa: UP045 - typer reads annotations at run time


def compare(
    context: typer.Context,
    filename: Annotated[
        list[str],
        typer.Option(
            "--filename",
            "-f",
            metavar="FILE|DIR|-",
            help="Dump of a cluster, or manifests, as for `plimsoll plan`. May be given several "
            "times.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="table|json", help="How to print the comparison."),
    ] = "table",
    html: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="FILE", help="Write one self-contained page with plots, too."),
    ] = None,
    guest_cpu: Annotated[
        Text,
        _figure("CPU", "Taken by the system of a VM, or of a bare-metal host. Default: 100m."),
    ] = None,
    guest_memory: Annotated[
        Text,
        _figure("MEM", "Taken by the system of a VM, or of a bare-metal host. Default: 512Mi."),
    ] = None,
    container_cpu: Annotated[
        Text, _figure("CPU", "Taken by the runtime for each container. Default: 0.")
    ] = None,
    container_memory: Annotated[
        Text, _figure("MEM", "Taken by the runtime for each container. Default: 16Mi.")
    ] = None,
    hypervisor_cpu: Annotated[
        Text, _figure("CPU", "Taken by the hypervisor of a host of assumed size. Default: 1.")
    ] = None,
    hypervisor_memory: Annotated[
        Text, _figure("MEM", "Taken by the hypervisor of a host of assumed size. Default: 4Gi.")
    ] = None,
    host_cpu: Annotated[
        Text,
        _figure("N", "CPUs of a host, instead of the inventory. Default: 64, or what VMs need."),
    ] = None,
    host_memory: Annotated[
        Text,
        _figure("MEM", "Memory of a host, instead of the inventory. Default: 512Gi, or so."),
    ] = None,
    host_pods: Annotated[
        Text, _figure("N", "Pods that a bare-metal host takes at most. Default: 250.")
    ] = None,
    cpu_overcommit: Annotated[
        Text,
        _figure(
            "PERCENT", "Virtual CPUs for 100 physical ones. Default: the Hypervisor's, or 100."
        ),
    ] = None,
    survive_hosts: Annotated[
        Text, _figure("N", "Hosts that may fail, in each way. Default: the VMPools', or 0.")
    ] = None,
    vm_cpu: Annotated[
        Text, _figure("N-N", "CPUs of a VM, instead of the VMPools' or the nodes'.")
    ] = None,
    vm_memory: Annotated[
        Text, _figure("MEM-MEM", "Memory of a VM, instead of the VMPools' or the nodes'.")
    ] = None,
    vm_pods: Annotated[
        Text, _figure("N", "Pods of a VM at most, instead of the VMPools' or the nodes'.")
    ] = None,
    load_line: Annotated[
        Text, _figure("PERCENT", "Load line, in each way. Default: the VMPools', or 85.")
    ] = None,
    cost_per_vm: Annotated[
        Text, _figure("COST", "Cost of a VM. Default: the VMPools', or 4.")
    ] = None,
    cost_per_cpu: Annotated[
        Text, _figure("COST", "Cost of a CPU. Default: the VMPools', or 1.")
    ] = None,
    cost_per_gib: Annotated[
        Text, _figure("COST", "Cost of a GiB of memory. Default: the VMPools', or 250m.")
    ] = None,
    vm_host_licence: Annotated[
        Text, _figure("COST", "Licence of a host with VMs, such as its hypervisor's. Default: 0.")
    ] = None,
    bare_host_licence: Annotated[
        Text, _figure("COST", "Licence of a bare-metal host. Default: 0.")
    ] = None,
) -> None:
    """Compare four ways to run the containers of a cluster; nothing is changed.

    One app per VM; containers on bare-metal hosts; containers on VMs as they are; containers
    on VMs as Plimsoll would run them. `kubectl get pods,nodes -A -o json` is enough: kinds of
    Plimsoll, DaemonSets and the like make it more exact. What is measured and what is assumed
    is printed with it.

    Exit codes: 0 compared, 1 the page could not be written, 2 bad input.
    """
    from dataclasses import fields

    from plimsoll.compare.assumptions import Options
    from plimsoll.compare.command import Output, main

    if output not in set(Output):
        choices = ", ".join(Output)
        raise typer.BadParameter(f"{output!r} is none of {choices}", param_hint="--output")
    texts = {field.name: context.params[field.name] for field in fields(Options)}
    raise typer.Exit(main(filename, Output(output), html, texts))
