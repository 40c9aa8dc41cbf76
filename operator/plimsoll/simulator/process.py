"""The simulated data centre as a process: physics and metrics, until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Iterator
from typing import NamedTuple

from plimsoll.kube import ApiError, Kube, NoCluster
from plimsoll.simulator.aggregation import Occupied
from plimsoll.simulator.metrics_server import serve_metrics
from plimsoll.simulator.run import run


class MetricsOptions(NamedTuple):
    """How the metrics API is reached; see ``serve_metrics``."""

    address: str = "localhost"
    port: int = 0
    keep: bool = False


def main(kubeconfig: str | None, namespace: str, metrics: MetricsOptions | None) -> int:
    """Runs until SIGINT or SIGTERM; returns the exit code. None: no metrics are served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    failed = False
    try:
        asyncio.run(_serve(kubeconfig, namespace, metrics))
    except* (ApiError, NoCluster, Occupied, OSError) as group:
        failed = True
        for error in _leaves(group):
            print(f"error: {error}", file=sys.stderr)
    return 1 if failed else 0


async def _serve(kubeconfig: str | None, namespace: str, metrics: MetricsOptions | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Kube.from_environment(kubeconfig) as kube, asyncio.TaskGroup() as tasks:
        tasks.create_task(run(kube, namespace, stop))
        if metrics is not None:
            tasks.create_task(
                serve_metrics(
                    kube,
                    namespace,
                    stop,
                    address=metrics.address,
                    port=metrics.port,
                    keep=metrics.keep,
                )
            )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors that a group of groups consists of."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
