"""One host: its connection, kept in a thread of its own and made anew when it is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from plimsoll.api.libvirt import LibvirtHost
from plimsoll.hypervisors.contract import HypervisorError
from plimsoll.hypervisors.libvirt import errors, library
from plimsoll.hypervisors.libvirt.library import Api, Connection
from plimsoll.hypervisors.libvirt.worker import Job, Overrun, Silent, Worker

log = logging.getLogger(__name__)

T = TypeVar("T")

BACKOFF_FIRST: Final = 0.5
BACKOFF_MAX: Final = 10.0
"""Seconds that a silent host is left alone between attempts; callers are told at once."""
HUNG_MAX: Final = 3
"""Threads of one host that may hang in libvirt before no further is started."""
_KEEPALIVE_COUNT: Final = 3


class Session:
    """What a job may use, in the thread: the connection, and the way to say what it does."""

    def __init__(self, host: str, api: Api, conn: Connection, job: Job[Any]) -> None:
        self.host = host
        self.api = api
        self.conn = conn
        self._job = job

    def step(self, doing: str) -> None:
        """Says what comes next; each step has the whole time-out.

        Raises:
            Abandoned: nobody waits any more; nothing further may be touched.
        """
        self._job.step(doing)

    def has_code(self, error: Exception, *names: str) -> bool:
        """Whether libvirt's error has one of these codes."""
        return errors.has_code(self.api, error, *names)


class _Thread:
    """The connection inside one worker's thread."""

    def __init__(self, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self.conn: Connection = None
        self._changed = changed

    def ready(self, api: Api, uri: str, timeout: float, job: Job[Any]) -> Connection:
        """A connection that was alive a moment ago."""
        if self.conn is not None and not self.conn.isAlive():
            self.drop()
        if self.conn is None:
            job.step("connecting")
            self.conn = api.open(uri)
            # Embedded drivers have no daemon that could fall silent, and say so.
            if self.conn.setKeepAlive(max(1, int(timeout / (_KEEPALIVE_COUNT + 1))), 3) == 0:
                self.conn.registerCloseCallback(lambda *_: self._changed(), None)
            self._listen(api)
        return self.conn

    def _listen(self, api: Api) -> None:
        try:
            self.conn.domainEventRegisterAny(
                None, api.VIR_DOMAIN_EVENT_ID_LIFECYCLE, lambda *_: self._changed(), None
            )
        except api.libvirtError as error:
            log.info("%s tells of no events, so its VMs are polled: %s", self.name, error)

    def drop(self) -> None:
        """Closes the connection. May block, so only in the thread."""
        conn, self.conn = self.conn, None
        if conn is not None:
            try:
                conn.close()
            except Exception as error:
                log.debug("closing the connection to %s: %s", self.name, error)


class Host:
    """One machine with a libvirt daemon. ``changed`` is called from any thread on news of it."""

    def __init__(
        self, spec: LibvirtHost, uri: str, timeout: float, changed: Callable[[], None]
    ) -> None:
        self.name = spec.name
        self.zone = spec.zone
        self.maintenance = spec.maintenance
        self._uri = uri
        self._timeout = timeout
        self._changed = changed
        self._worker: Worker | None = None
        self._hung: list[Worker] = []
        self._failures = 0
        self._retry_at = 0.0
        self._last = ""
        self._thread: _Thread | None = None

    async def do(self, doing: str, work: Callable[[Session], T]) -> T:
        """The answer of the work, which runs in the host's thread.

        It may return plain data only: libvirt's objects must not leave the thread.

        Raises:
            Silent: the host is silent or busy; nothing is known.
            HypervisorError: the work, or libvirt, refused.
        """
        api = library.load()
        worker, thread = self._usable()

        def run(job: Job[T]) -> T:
            return self._run(api, thread, job, doing, work)

        try:
            answer = await worker.carry_out(run, self._timeout)
        except Overrun as error:
            if worker is self._worker:
                self._give_up(worker, str(error))
            raise Silent(f"host {self.name}: {doing}: {error}") from None
        except Silent:
            raise
        except HypervisorError:
            self._failures = 0  # it refused, so it is there
            raise
        self._failures = 0
        return answer

    async def close(self) -> None:
        """Ends the thread and its connection; bounded in time."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.stop(self._timeout)

    def _usable(self) -> tuple[Worker, _Thread]:
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            raise Silent(f"{self._last} (asked again in {wait:.0f} s)")
        self._hung = [worker for worker in self._hung if worker.alive]
        if self._worker is None or self._thread is None:
            if len(self._hung) >= HUNG_MAX:
                raise Silent(
                    f"host {self.name}: {len(self._hung)} calls to its libvirt daemon hang; no "
                    "further is made until one of them ends: look at that daemon"
                )
            self._thread = _Thread(self.name, self._changed)
            self._worker = Worker(f"libvirt-{self.name}", self._thread.drop)
        return self._worker, self._thread

    def _run(
        self,
        api: Api,
        thread: _Thread,
        job: Job[T],
        doing: str,
        work: Callable[[Session], T],
    ) -> T:
        """In the thread."""
        if thread.conn is None and self._retry_at > time.monotonic():
            raise Silent(self._last)  # the job before this one has just tried
        try:
            conn = thread.ready(api, self._uri, self._timeout, job)
        except api.libvirtError as error:
            thread.drop()
            # However it is refused: what cannot be reached cannot be known.
            raise self._silent(f"host {self.name}: no connection: {error}") from None
        job.step(doing)
        try:
            return work(Session(self.name, api, conn, job))
        except api.libvirtError as error:
            if errors.may_have_lost_connection(api, error) and not conn.isAlive():
                thread.drop()
                raise Silent(f"host {self.name}: {job.doing}: {error}") from None
            raise errors.typed(api, error, f"host {self.name}: {job.doing}") from None

    def _give_up(self, worker: Worker, why: str) -> None:
        log.warning("host %s is silent: %s", self.name, why)
        worker.abandon()
        self._hung.append(worker)
        self._worker = self._thread = None
        self._silent(f"host {self.name}: {why}")

    def _silent(self, message: str) -> Silent:
        self._retry_at = time.monotonic() + min(BACKOFF_MAX, BACKOFF_FIRST * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._last = message
        return Silent(message)


async def gather(
    hosts: list[Host], doing: str, work: Callable[[Session], T]
) -> dict[str, T | HypervisorError]:
    """The answers of all hosts, asked at the same time, by name; a silent host's is its error."""
    answers = await asyncio.gather(
        *(host.do(doing, work) for host in hosts), return_exceptions=True
    )
    found: dict[str, T | HypervisorError] = {}
    for host, answer in zip(hosts, answers, strict=True):
        if isinstance(answer, BaseException) and not isinstance(answer, HypervisorError):
            raise answer
        found[host.name] = answer
    return found
