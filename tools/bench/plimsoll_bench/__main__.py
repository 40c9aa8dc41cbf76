"""``python -m plimsoll_bench``: the whole benchmark, or one part of it while tuning."""

from __future__ import annotations

import sys

from plimsoll_bench.command import main

sys.exit(main(sys.argv[1:]))
