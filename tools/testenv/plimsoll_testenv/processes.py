"""The parent's handle on a supervisor: start processes, see which have ended, stop them all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plimsoll_testenv.errors import TestEnvError

LOG_TAIL_LINES = 20
PASSED_ON = ("PATH", "TMPDIR", "LANG")
"""Environment variables that processes inherit; proxies, KUBECONFIG and the like must not leak."""


class Processes:
    """A private directory and the processes that run in it.

    They end, and the directory goes, on `stop`, or when this process ends for whatever reason.
    """

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self._lock = threading.Lock()
        program = Path(__file__).with_name("supervisor.py")
        with (self.directory / "supervisor.log").open("wb") as log:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", str(program), str(os.getpid()), str(self.directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                # Out of the terminal's process group, so that Ctrl-C reaches the parent alone.
                start_new_session=True,
            )

    @property
    def supervisor_pid(self) -> int:
        """The process that ends the others."""
        return self._supervisor.pid

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> int:
        """Start a process in the directory and return its pid; its output goes to NAME.log."""
        passed_on = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        full = {"HOME": str(self.directory)} | passed_on | dict(env or {})
        answer = self._ask({"do": "start", "name": name, "argv": list(argv), "env": full})
        if "error" in answer:
            raise TestEnvError(f"could not start {name}: {answer['error']}")
        return int(answer["pid"])

    def exited(self) -> dict[str, int]:
        """Name and exit code of each process that has ended by itself."""
        return dict(self._ask({"do": "exited"})["exited"])

    def on_stop(self, argv: Sequence[str]) -> None:
        """Run this command after the processes have been ended."""
        self._ask({"do": "on_stop", "argv": list(argv)})

    def log_tail(self, name: str) -> str:
        """The last lines of what a process wrote."""
        log = self.directory / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def require_running(self) -> None:
        """Raise with the log's tail if any process has ended."""
        for name, code in self.exited().items():
            raise TestEnvError(
                f"{name} ended with code {code}; the end of its log:\n{self.log_tail(name)}"
            )

    def stop(self) -> None:
        """End every process and wait until they are gone; a second call does nothing."""
        with self._lock:
            if self._supervisor.poll() is None:
                self._supervisor.communicate(b'{"do": "stop"}\n')
            for pipe in (self._supervisor.stdin, self._supervisor.stdout):
                if pipe is not None:
                    pipe.close()
            # Already gone, unless the supervisor was killed.
            shutil.rmtree(self.directory, ignore_errors=True)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        stdin, stdout = self._supervisor.stdin, self._supervisor.stdout
        assert stdin is not None
        assert stdout is not None
        with self._lock:
            try:
                stdin.write(json.dumps(request).encode() + b"\n")
                stdin.flush()
                line = stdout.readline()
            except (BrokenPipeError, ValueError):
                line = b""
        if not line:
            raise TestEnvError("the supervisor of the control plane's processes has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer
