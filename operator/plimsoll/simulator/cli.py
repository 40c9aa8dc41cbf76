"""Command ``plimsoll simulate``. What it needs is imported when it runs."""

from __future__ import annotations

from typing import Annotated, Optional

import typer


def simulate(
    kubeconfig: Annotated[
        Optional[str],  # noqa: UP045 - typer reads annotations at run time
        typer.Option(help="Cluster to serve. Default: as kubectl finds it."),
    ] = None,
    namespace: Annotated[
        str, typer.Option(help="Namespace that holds the VMs: the operator's own.")
    ] = "plimsoll-system",
    metrics: Annotated[
        bool, typer.Option(help="Serve metrics.k8s.io for the simulated containers.")
    ] = True,
    metrics_address: Annotated[
        str, typer.Option(help="Where the API server reaches this process: a name or an IP.")
    ] = "localhost",
    metrics_port: Annotated[
        int, typer.Option(help="Port of the metrics API; 0: any free one.")
    ] = 0,
    keep_metrics: Annotated[
        bool, typer.Option(help="Leave the metrics API registered at the end.")
    ] = False,
) -> None:
    """Run the simulated data centre: boot VMs, join nodes, fail hosts, measure containers.

    It serves every Hypervisor with `provider: simulated`, until it is interrupted. It may be
    ended and started again at any time: all that it knows lies in the cluster. Run one for a
    cluster, and kwok beside it to play the kubelets.
    """
    from plimsoll.simulator.process import MetricsOptions, main

    options = MetricsOptions(metrics_address, metrics_port, keep_metrics) if metrics else None
    raise typer.Exit(main(kubeconfig, namespace, options))
