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
def test_best_first_and_of_equal_ones_the_first(data: st.DataObject, seed: int, count: int) -> None:
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
        able = [slot for slot in range(len(scores)) if scores[slot] > NO]
        able.sort(key=lambda slot: (-scores[slot], slot))
        short, are_all = ranking.short_list(len(scores))
        assert [slot for _, slot in short] == able[: len(short)]
        assert short or not able
        assert not are_all or len(short) == len(able)
        allowed = random.random(len(scores)) < data.draw(st.sampled_from([0.0, 0.002, 0.5, 1.0]))
        expected = next((slot for slot in able if allowed[slot]), None)
        assert ranking.best(len(scores), allowed) == expected
        assert list(ranking.scores(len(scores))) == list(scores)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_list_that_is_used_up_is_drawn_up_again(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.random(1000)
    ranking = Ranking()
    ranking.reset(scores)
    taken = []
    while short := ranking.short_list(len(scores))[0]:
        taken.append(short[0][1])
        ranking.set(taken[-1], NO)
    assert taken == sorted(range(len(scores)), key=lambda slot: (-scores[slot], slot))
