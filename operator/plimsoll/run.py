"""``plimsoll run``: the operator as a process."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import Final

import kopf

from plimsoll import logs
from plimsoll.apierrors import ApiError
from plimsoll.kube import Kube
from plimsoll.kubeconfig import NoCluster
from plimsoll.preflight import PreflightError, check
from plimsoll.settings import Settings

log = logging.getLogger(__name__)

OK: Final = 0
FAILED: Final = 1


class Ended(Exception):
    """The operator ended though nobody asked it to."""


def main(settings: Settings) -> int:
    """Runs until a signal ends it; answers the exit code.

    Missing kinds or permissions end it at once with every finding named, or, with
    ``preflight_retry``, are looked for again.
    """
    logs.configure(settings.log_format, settings.log_level)
    try:
        asyncio.run(_preflight(settings))
        asyncio.run(_operate(settings))
    except (PreflightError, NoCluster, ApiError, Ended, OSError) as error:
        for line in str(error).splitlines():
            log.error("%s", line)
        return FAILED
    except KeyboardInterrupt:
        return OK
    return OK


async def _preflight(settings: Settings) -> None:
    while True:
        try:
            async with Kube.from_environment(settings.kubeconfig, settings.context) as kube:
                await check(kube, settings.namespace)
            return
        except (PreflightError, ApiError) as error:
            if not settings.preflight_retry:
                raise
            for line in str(error).splitlines():
                log.error("%s", line)
            log.info("looking again in %.0f s", settings.preflight_retry)
        await asyncio.sleep(settings.preflight_retry)


async def _operate(settings: Settings) -> None:
    from plimsoll import handlers  # importing it registers the handlers with kopf

    failed = False

    def end() -> None:
        # Not by a stop flag: kopf 1.45 waits five seconds for its own watcher of the flag.
        nonlocal failed
        failed = True
        signal.raise_signal(signal.SIGTERM)

    own = kopf.OperatorSettings()
    handlers.configure(own)
    memo = kopf.Memo(settings=settings, on_failure=end)
    await kopf.operator(settings=own, memo=memo, clusterwide=True, standalone=True)
    if failed:
        raise Ended("a part of the operator ended; the log says which")
