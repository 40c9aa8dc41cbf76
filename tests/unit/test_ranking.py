"""The short list answers as if all VMs were looked at."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from plimsoll.decide.ranking import NO, Ranking

SCORES = st.sampled_from([NO, -2.5, -1.0, 0.0, 0.25, 3.0])
"""Few distinct ones, so that many VMs are equal."""


@settings(max_examples=60)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), count=st.integers(0, 1500))
def test_best_is_the_first_of_the_best_that_are_allowed(
    data: st.DataObject, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    scores = random.choice([NO, -2.5, -1.0, 0.0, 0.25], count)
    ranking = Ranking()
    ranking.reset(scores)
    for _ in range(12):
        for _ in range(data.draw(st.integers(0, 40))):
            # One more than there are: a VM that was opened since.
            slot = int(random.integers(0, len(scores) + 1))
            score = data.draw(SCORES)
            scores = np.append(scores, NO) if slot == len(scores) else scores
            scores[slot] = score
            ranking.set(slot, score)
        allowed = None
        if data.draw(st.booleans()):
            allowed = random.random(len(scores)) < data.draw(st.sampled_from([0.0, 0.002, 0.5]))
        able = np.flatnonzero((scores > NO) & (True if allowed is None else allowed))
        expected = int(able[scores[able].argmax()]) if len(able) else None
        assert ranking.best(len(scores), allowed) == expected
        assert list(ranking.scores(len(scores))) == list(scores)
