"""The command line: `python -m plimsoll_demo`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from plimsoll_demo.chapters import tell
from plimsoll_demo.comparison import Moment
from plimsoll_demo.performing import perform
from plimsoll_demo.screen import Screen
from plimsoll_demo.site import Site
from plimsoll_demo.story import Story
from plimsoll_demo.summary import as_data, print_summary
from plimsoll_testenv.errors import TestEnvError

INTERRUPTED = 130
SYNC_SECONDS = 30.0


def main() -> int:
    """Tells the story; 0 if every chapter came out, 1 if one did not, 130 if interrupted."""
    parser = argparse.ArgumentParser(
        prog="plimsoll_demo", description="Show Plimsoll at work on a real control plane."
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=os.environ.get("KEEP", "") not in ("", "0"),
        help="leave everything up at the end, until Ctrl-C (or set KEEP=1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came out there, too")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where a shell started it in the background, and had Ctrl-C ignored.
        signal.signal(number, signal.default_int_handler)
    try:
        return run(arguments.keep, arguments.json)
    except KeyboardInterrupt:
        print("interrupted; everything is cleaned up", file=sys.stderr)
        return INTERRUPTED
    except TestEnvError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(keep: bool, output: Path | None) -> int:
    """Starts everything, tells the story, and cleans up."""
    screen = Screen()
    with Site.open() as site:
        began = time.monotonic()
        with screen:
            report = asyncio.run(play(site, screen))
        report["seconds"] = round(time.monotonic() - began, 1)
        if output is not None:
            output.write_text(json.dumps(report, indent=2) + "\n")
        screen.console.print(f"\ntold in {report['seconds']:.0f} s")
        if keep:
            stay(site, screen)
    return 0 if report["ok"] else 1


async def play(site: Site, screen: Screen) -> dict[str, Any]:
    """All chapters and the summary; answers what came out."""
    moments: list[Moment] = []

    async def chapters(story: Story) -> None:
        moments.extend(await tell(story))

    report = await perform(site, screen, chapters, sync_seconds=SYNC_SECONDS)
    if report["ok"]:
        print_summary(screen.console, moments)
    return {**report, "summary": as_data(moments)}


def stay(site: Site, screen: Screen) -> None:
    """Says how to look around, and waits for Ctrl-C."""
    kubeconfig = site.control_plane.kubeconfig
    kubectl = site.control_plane.kubectl
    screen.console.print(
        f"""
Everything stays up until Ctrl-C. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH={kubectl.parent}:$PATH
  kubectl get plimsoll
  kubectl get vmnodes --watch
  kubectl annotate containerworkload tomcat --overwrite simulator.plimsoll.dev/load=cpu=6
  {Path(sys.executable).with_name("plimsoll")} explain tomcat
  kubectl get events --sort-by=.lastTimestamp
  tail -f {site.logs}/operator.log""",
        markup=False,
        soft_wrap=True,
    )
    while True:
        time.sleep(1.0)
        site.require_running()


if __name__ == "__main__":
    sys.exit(main())
