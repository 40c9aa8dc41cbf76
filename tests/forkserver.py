"""Starts the operator again and again, quickly: forks a process that has imported everything.

Reads a line, forks the operator, writes its process id; when it has ended,
writes its exit code and waits for the next line. One at a time.
"""

from __future__ import annotations

import os
import sys


def serve() -> None:
    import kubernetes.aio.client
    import kubernetes.aio.config  # noqa: F401

    from plimsoll import handlers  # noqa: F401
    from plimsoll.run import main
    from plimsoll.settings import Settings

    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(main(Settings.load()))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
