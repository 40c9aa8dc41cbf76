"""Runs a command and says what it took. Standard library only, and small itself on purpose.

The kernel counts what a process had resident before it became the command: started from
the benchmark, which holds tens of thousands of pods, every command would seem large.

Usage: launcher.py RESULT OUTPUT COMMAND [ARGUMENT ...]
"""

import os
import sys
import time


def run(result: str, output: str, command: list[str]) -> None:
    """Writes exit code, seconds and most bytes resident, in a line each, to ``result``."""
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.dup2(target, 1)
        os.execvp(command[0], command)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    with open(result, "w") as file:
        print(code, seconds, usage.ru_maxrss * 1024, file=file, sep="\n")


run(sys.argv[1], sys.argv[2], sys.argv[3:])
