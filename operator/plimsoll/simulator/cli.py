"""Command ``plimsoll simulate``: the simulated data centre as a process of its own."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from typing import Annotated

import typer

from plimsoll.kube import ApiError, Kube, NoCluster
from plimsoll.simulator.aggregation import Occupied
from plimsoll.simulator.metrics_server import serve_metrics
from plimsoll.simulator.run import run

app = typer.Typer(add_completion=False)


@app.command()
def simulate(
    kubeconfig: Annotated[
        str | None, typer.Option(help="Cluster to serve; default: as kubectl finds it.")
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
    metrics_port: Annotated[int, typer.Option(help="Port of the metrics; 0: any free one.")] = 0,
    keep_metrics: Annotated[
        bool, typer.Option(help="Leave the metrics API registered at the end.")
    ] = False,
) -> None:
    """Run the simulated data centre: boot VMs, join nodes, fail hosts, measure containers."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with Kube.from_environment(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
            tasks.create_task(run(kube, namespace, stop))
            if metrics:
                tasks.create_task(
                    serve_metrics(
                        kube,
                        namespace,
                        stop,
                        address=metrics_address,
                        port=metrics_port,
                        keep=keep_metrics,
                    )
                )

    failed = False
    try:
        asyncio.run(serve())
    except* (ApiError, NoCluster, Occupied) as group:
        failed = True
        for error in _leaves(group):
            typer.echo(f"error: {error}", err=True)
    if failed:
        raise typer.Exit(1)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that a group of groups consists of."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


if __name__ == "__main__":
    app()
