"""Measures Plimsoll beside its peers and proven bounds; ``docs/guides/benchmarks.md`` explains."""
