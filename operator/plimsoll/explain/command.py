"""The command: reads a cluster or files, prints, and answers the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Final

from plimsoll.api.timestamp import parse_rfc3339
from plimsoll.explain.facts import Facts
from plimsoll.explain.question import NotThere, Question
from plimsoll.offline.problems import BadInput
from plimsoll.world.snapshot import EXPENDABLE_BELOW

OK: Final = 0
FAILED: Final = 1
BAD_INPUT: Final = 2


def main(
    question: Question,
    files: Sequence[str],
    now: str | None,
    everything: bool,
    kubeconfig: str | None = None,
    context: str | None = None,
    expendable_below: int = EXPENDABLE_BELOW,
) -> int:
    """Prints the explanation; the exit code.

    ``files``: read these instead of a cluster. ``now`` (RFC 3339) is the moment for files.
    ``everything``: all VMs are named, however many. ``expendable_below`` is the operator's
    setting.
    """
    try:
        if files:
            from plimsoll.explain.files import from_files

            moment = parse_rfc3339(now) if now is not None else None
            facts = from_files(files, moment, expendable_below)
        else:
            facts = _from_cluster(kubeconfig, context, expendable_below)
        for line in _lines(question, facts, everything):
            print(line)
    except BadInput as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return BAD_INPUT
    except NotThere as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except _Unreachable as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except ValueError:
        print(f"--now {now}: is no moment: write it like 2026-01-31T12:00:00Z", file=sys.stderr)
        return BAD_INPUT
    return OK


class _Unreachable(Exception):
    """The cluster cannot be asked."""


def _from_cluster(kubeconfig: str | None, context: str | None, expendable_below: int) -> Facts:
    # Files need no client.
    from plimsoll.apierrors import ApiError
    from plimsoll.explain.cluster import from_cluster
    from plimsoll.kubeconfig import NoCluster

    try:
        return from_cluster(kubeconfig, context, expendable_below)
    except (NoCluster, ApiError) as error:
        raise _Unreachable(str(error)) from error


def _lines(question: Question, facts: Facts, everything: bool) -> Iterator[str]:
    if question.pod:
        from plimsoll.explain import pods

        return pods.lines(question.pod, facts, everything)
    from plimsoll.explain import objects

    return objects.lines(question, facts)
