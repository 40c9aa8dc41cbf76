"""The command line: `python -m plimsoll_nodeimage build|path|check`."""

from __future__ import annotations

import argparse
import signal
import sys

from plimsoll_nodeimage import host, image
from plimsoll_nodeimage.errors import NodeImageError
from plimsoll_testenv import TestEnvError


def main() -> int:
    """Run one subcommand; return the exit code."""
    parser = argparse.ArgumentParser(prog="plimsoll_nodeimage", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the image into the cache; print its path")
    build.add_argument(
        "--again", action="store_true", help="even if there is one, with the packages of today"
    )
    commands.add_parser("path", help="print where the image is or will be")
    commands.add_parser("check", help="say what this machine lacks to build it")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        match arguments.command:
            case "build":
                print(image.build(to_stderr, again=arguments.again))
            case "path":
                print(image.image_path())
            case "check":
                host.require()
                print("this machine can build the node image")
    except KeyboardInterrupt:
        return 130
    except (NodeImageError, TestEnvError) as error:
        to_stderr(f"error: {error}")
        return 1
    return 0


def to_stderr(line: str) -> None:
    """Print a line about progress, at once."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
