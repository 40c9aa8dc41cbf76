"""Shared by all tests: Hypothesis explores the same examples in every run.

A red test must mean that the code changed. `HYPOTHESIS_PROFILE=explore` looks
for new counterexamples instead; what it finds becomes a case of its own.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
