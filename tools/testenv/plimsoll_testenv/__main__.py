"""The command line: `python -m plimsoll_testenv build|up|which`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time

from plimsoll_testenv import binaries
from plimsoll_testenv.control_plane import (
    NODE_MONITOR_GRACE_PERIOD_SECONDS,
    ControlPlane,
    to_stderr,
)
from plimsoll_testenv.discovery import discover
from plimsoll_testenv.errors import TestEnvError

CHECK_SECONDS = 1.0


def main() -> int:
    """Run one subcommand; return the exit code."""
    parser = argparse.ArgumentParser(prog="plimsoll_testenv", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the control plane's programs into the cache")
    commands.add_parser("which", help="say which control plane would be used, and why")
    up = commands.add_parser("up", help="start a control plane and keep it until Ctrl-C")
    up.add_argument(
        "--node-monitor-grace-period",
        type=float,
        metavar="SECONDS",
        default=NODE_MONITOR_GRACE_PERIOD_SECONDS,
        help="seconds without a heartbeat until a node is unreachable (default: %(default)s)",
    )
    arguments = parser.parse_args()
    # Both clean up alike, also where a shell started this in the background, ignoring SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        match arguments.command:
            case "build":
                print(binaries.build(to_stderr))
            case "which":
                print(discover(os.environ))
                if missing := binaries.missing():
                    print(f"not built yet: {', '.join(program.name for program in missing)}")
            case "up":
                keep_up(arguments.node_monitor_grace_period)
    except KeyboardInterrupt:
        return 130 if arguments.command == "build" else 0
    except TestEnvError as error:
        to_stderr(f"error: {error}")
        return 1
    return 0


def keep_up(node_monitor_grace_period: float) -> None:
    """Start a control plane, print how to use it, and watch over it until interrupted."""
    began = time.monotonic()
    with ControlPlane.start(node_monitor_grace_period=node_monitor_grace_period) as control_plane:
        to_stderr(f"ready at {control_plane.server} after {time.monotonic() - began:.1f} s")
        print(f"export KUBECONFIG={control_plane.kubeconfig}", flush=True)
        to_stderr("Ctrl-C ends it")
        while True:
            time.sleep(CHECK_SECONDS)
            control_plane.require_running()


if __name__ == "__main__":
    sys.exit(main())
