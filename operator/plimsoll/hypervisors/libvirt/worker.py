"""One thread that carries out blocking jobs for one host, and can be given up.

A call into libvirt cannot be interrupted. So each host has a thread of its own;
when a call overruns, the thread is abandoned: it learns so at its next step,
cleans up and ends, however late that is. Nothing of libvirt leaves the thread.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from plimsoll.hypervisors.contract import HypervisorError, Retryable

log = logging.getLogger(__name__)

T = TypeVar("T")


class Silent(Retryable):
    """The host could not say; whatever is asked of it is unknown."""


class Abandoned(Exception):
    """Nobody waits for this job any more: it must touch nothing further."""


class Job(Generic[T]):
    """One piece of work in the thread."""

    def __init__(self, work: Callable[[Job[T]], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()
        self.doing = "waiting for its turn"
        """For messages: the step under way."""
        self.abandoned = False
        self._since = time.monotonic()

    def step(self, doing: str) -> None:
        """Says, in the thread, which step comes next; each has the whole time-out.

        Raises:
            Abandoned: the job was given up in the meantime.
        """
        if self.abandoned:
            raise Abandoned(doing)
        self.doing = doing
        self._since = time.monotonic()

    def left(self, timeout: float) -> float:
        """Seconds that the step under way may still take."""
        return timeout - (time.monotonic() - self._since)


class Overrun(Exception):
    """A step took longer than it may: the worker is to be abandoned."""


class Worker:
    """The thread. ``release`` is called in it when it ends, to free what it holds."""

    def __init__(self, name: str, release: Callable[[], None]) -> None:
        self._release = release
        self._jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._current: Job[Any] | None = None
        self._ended = False
        self._lock = threading.Lock()
        # A daemon: a hung call must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    async def carry_out(self, work: Callable[[Job[T]], T], timeout: float) -> T:
        """The result of the work, whose every step may take ``timeout`` seconds.

        Raises:
            Silent: other jobs kept it from starting in time; it will not run.
            Overrun: a step of this or of the job before it hangs.
            HypervisorError: the work raised it.
        """
        job: Job[T] = Job(work)
        with self._lock:
            if self._ended:
                raise Silent("the connection was closed")
            self._jobs.put(job)
        waiting = asyncio.wrap_future(job.future)
        try:
            while not waiting.done():
                left = job.left(timeout)
                if left <= 0:
                    raise self._overdue(job, timeout)
                await asyncio.wait({waiting}, timeout=left)
        except BaseException:
            job.abandoned = True
            waiting.cancel()
            raise
        return waiting.result()

    def _overdue(self, job: Job[Any], timeout: float) -> Exception:
        current = self._current
        if current is not None and current.left(timeout) <= 0:
            return Overrun(f"no answer within {timeout:g} s while {current.doing}")
        if job is current:
            return Overrun(f"no answer within {timeout:g} s while {job.doing}")
        return Silent(f"busy: it did not get its turn within {timeout:g} s")

    def abandon(self) -> None:
        """Lets the thread end by itself; who waits for it is told that nothing is known."""
        with self._lock:
            self._ended = True
        current = self._current
        if current is not None:
            current.abandoned = True
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(Silent("a call before this one hung"))
        self._jobs.put(None)

    async def stop(self, timeout: float) -> None:
        """Ends the thread after the jobs that it has, waiting no longer than ``timeout``."""
        with self._lock:
            self._ended = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout)
        if self.alive:
            self.abandon()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                break
            if not job.future.set_running_or_notify_cancel():
                continue
            self._current = job
            self._carry_out(job)
            self._current = None
            del job
        self._release()

    def _carry_out(self, job: Job[Any]) -> None:
        try:
            job.step("starting")
            result = job.work(job)
        except Abandoned:
            answer: Exception = Silent("given up")
        except HypervisorError as error:
            # Anew: the frames of the original hold libvirt's objects, which must be
            # freed in this thread, where that may block.
            answer = type(error)(str(error))
        except Exception as error:
            log.exception("a job failed")
            answer = RuntimeError(f"{type(error).__name__}: {error}")
        else:
            job.future.set_result(result)
            return
        job.future.set_exception(answer)
