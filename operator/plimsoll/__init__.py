"""Plimsoll: containers on VMs, loaded to the line.

The package reads top-down as the data flows: ``world`` gathers, ``decide``
plans, ``act`` carries out. ``api`` holds the kinds that all three speak of.
"""

__version__ = "0.1.0"
