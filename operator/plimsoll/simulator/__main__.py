"""``python -m plimsoll.simulator`` is ``plimsoll simulate``."""

import typer

from plimsoll.simulator.cli import simulate

typer.run(simulate)
