"""The command line: `python -m plimsoll_e2e`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import plimsoll_nodeimage
from plimsoll_demo.performing import perform
from plimsoll_demo.screen import Screen
from plimsoll_e2e.chapters import Play, tell
from plimsoll_e2e.stage import Stage
from plimsoll_nodeimage import host as image_host
from plimsoll_nodeimage.errors import NodeImageError
from plimsoll_site import obstacle
from plimsoll_testenv.errors import TestEnvError

INTERRUPTED = 130
SYNC_SECONDS = 60.0


def main() -> int:
    """Tell the story; 0 if every chapter came out, 1 if one did not, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="plimsoll_e2e", description="Run Plimsoll on real VMs, from empty hosts to none."
    )
    parser.add_argument(
        "--acceleration",
        choices=("Auto", "KVM", "Software"),
        default=os.environ.get("ACCELERATION") or "Auto",
        help="how the VMs run (or set ACCELERATION; default: KVM where this machine has it)",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "") not in ("", "0"),
        help="before all is deleted, leave it up until Ctrl-C (or set KEEP=1)",
    )
    parser.add_argument(
        "--check", action="store_true", help="only say whether this machine can, and why not"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came out there, too")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell started it in the background, and had Ctrl-C ignored.
        signal.signal(number, signal.default_int_handler)
    if arguments.check:
        reason = check()
        print(reason or "real VMs can run here")
        return 1 if reason else 0
    if reason := obstacle():
        print(f"error: no real VMs here: {reason}", file=sys.stderr)
        return 1
    try:
        return run(arguments.acceleration, arguments.keep, arguments.json)
    except KeyboardInterrupt:
        print("interrupted; everything is cleaned up", file=sys.stderr)
        return INTERRUPTED
    except (TestEnvError, NodeImageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def check() -> str:
    """Why this machine cannot run the story; empty: it can, once all is built."""
    if reason := obstacle():
        return reason
    if not plimsoll_nodeimage.image_path().exists():
        try:
            image_host.require()
        except NodeImageError as error:
            return f"the node image is not built, and cannot be: {error}"
    return ""


def run(acceleration: str, keep: bool, output: Path | None) -> int:
    """Start everything, tell the story, and clean up."""
    screen = Screen()
    began = time.monotonic()
    with Stage.open(acceleration=acceleration) as stage:
        with screen:
            report = asyncio.run(
                perform(
                    stage,
                    screen,
                    lambda story: tell(Play(story, stage, keep)),
                    sync_seconds=SYNC_SECONDS,
                )
            )
        report["seconds"] = round(time.monotonic() - began, 1)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(report, indent=2) + "\n")
        screen.console.print(f"\ntold in {report['seconds']:.0f} s")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
