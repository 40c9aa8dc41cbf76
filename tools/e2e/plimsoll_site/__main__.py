"""The command line: `python -m plimsoll_site up|check`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

import yaml

from plimsoll_site.requirements import obstacle
from plimsoll_site.site import Site
from plimsoll_testenv.control_plane import to_stderr
from plimsoll_testenv.errors import TestEnvError


def main() -> int:
    """Run one subcommand; return the exit code."""
    parser = argparse.ArgumentParser(prog="plimsoll_site")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="say whether libvirt hosts can be had here; 0 if so")
    up = commands.add_parser("up", help="boot libvirt hosts and keep them until Ctrl-C")
    up.add_argument("--hosts", type=int, default=2, help="how many (default: %(default)s)")
    up.add_argument(
        "--image",
        action="append",
        type=_image,
        default=[],
        metavar="NAME=FILE",
        help="a volume for every host's storage pool; may be repeated",
    )
    up.add_argument("--no-kvm", action="store_true", help="hide /dev/kvm from the hosts")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if arguments.command == "check":
            reason = obstacle()
            print(reason or "libvirt hosts can be had here")
            return 1 if reason else 0
        keep_up(arguments.hosts, dict(arguments.image), kvm=not arguments.no_kvm)
    except KeyboardInterrupt:
        return 0
    except TestEnvError as error:
        to_stderr(f"error: {error}")
        return 1
    return 0


def keep_up(hosts: int, images: dict[str, Path], *, kvm: bool) -> None:
    """Boot hosts, print the Hypervisor that names them, and wait until interrupted."""
    with Site.start(hosts, images=images, kvm=kvm) as site:
        print(yaml.safe_dump(site.hypervisor("rack-a"), sort_keys=False), flush=True)
        to_stderr(f"this machine is {site.address} to the guests; look around with")
        for host in site.hosts:
            to_stderr(f"  virsh -c '{host.uri}' list --all")
        to_stderr("Ctrl-C ends it")
        while True:
            time.sleep(1.0)


def _image(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and Path(path).is_file()):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE with a file that exists")
    return name, Path(path)


if __name__ == "__main__":
    sys.exit(main())
