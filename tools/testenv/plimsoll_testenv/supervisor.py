"""Runs the processes of one control plane and ends them when its parent goes, however it goes.

A program of its own, started by `processes.Processes`, that imports nothing of this package:

    supervisor.py PARENT_PID DIRECTORY

It reads one JSON request a line from standard input and answers each with one JSON line:

    {"do": "start", "name": N, "argv": [...], "env": {...}}  ->  {"pid": 123} or {"error": "..."}
    {"do": "exited"}                                         ->  {"exited": {"etcd": 1}}
    {"do": "on_stop", "argv": [...]}                         ->  {}
    {"do": "stop"}                                           ->  {}, when all of it is gone

Standard output and error of process N go to DIRECTORY/N.log. End of input means that the parent
has died or forgotten to say "stop": a pipe's end closes even when its holder is SIGKILLed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

PR_SET_PDEATHSIG = 1
ORPHANED_CHECK_SECONDS = 1.0
ON_STOP_TIMEOUT_SECONDS = 120


class Supervisor:
    """The children, in the order in which they were started."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.on_stop: list[list[str]] = []

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request other than "stop"."""
        match request["do"]:
            case "start":
                return self.start(request["name"], request["argv"], request["env"])
            case "exited":
                codes = {name: child.poll() for name, child in self.children.items()}
                return {"exited": {name: code for name, code in codes.items() if code is not None}}
            case "on_stop":
                self.on_stop.append(request["argv"])
                return {}
            case unknown:
                return {"error": f"unknown request {unknown!r}"}

    def start(self, name: str, argv: list[str], env: dict[str, str]) -> dict[str, Any]:
        """Start one process in DIRECTORY, in a process group of its own."""
        with open(os.path.join(self.directory, f"{name}.log"), "ab") as log:
            try:
                child = subprocess.Popen(
                    argv,
                    env=env,
                    cwd=self.directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=0,
                    preexec_fn=die_with_supervisor if sys.platform == "linux" else None,
                )
            except OSError as error:
                return {"error": str(error)}
        self.children[name] = child
        return {"pid": child.pid}

    def stop(self) -> None:
        """End everything, last started first, so that the API server goes before its etcd.

        SIGKILL at once: a test cluster has nothing to save, while an API server that is asked
        politely, or whose etcd left first, lingers on its port for up to a minute.
        """
        for child in reversed(self.children.values()):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for argv in self.on_stop:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    timeout=ON_STOP_TIMEOUT_SECONDS,
                    check=False,
                )
        shutil.rmtree(self.directory, ignore_errors=True)


def die_with_supervisor() -> None:
    """Have the kernel kill the calling process should this supervisor itself be SIGKILLed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def requests(parent: int) -> Iterator[dict[str, Any]]:
    """Yield requests until the parent is gone.

    The parent's pid is watched besides the pipe, because a process that the parent forked (and
    that outlives it) holds a copy of the pipe's writing end.
    """
    buffer = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], ORPHANED_CHECK_SECONDS)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            return
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            yield json.loads(line)


def main() -> None:
    """Serve requests, then stop everything."""
    # Ctrl-C and a closed terminal are the parent's to handle: it decides, and then asks.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    supervisor = Supervisor(sys.argv[2])
    try:
        for request in requests(int(sys.argv[1])):
            if request["do"] == "stop":
                break
            print(json.dumps(supervisor.answer(request)), flush=True)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        supervisor.stop()
    with contextlib.suppress(BrokenPipeError):
        print("{}", flush=True)


if __name__ == "__main__":
    main()
