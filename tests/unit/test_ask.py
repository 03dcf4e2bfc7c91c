"""How far a bundle's answers are from those of the model that was trained."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from tasks.ask import largest_gap

SCORES = st.lists(st.floats(-1.0, 1.0), min_size=1)


@given(SCORES)
def test_equal_answers_have_no_gap(scores: list[float]) -> None:
    """And the gap to answers that are all moved is how far they were moved."""
    assert largest_gap(scores, scores) == 0.0
    assert math.isclose(largest_gap([s + 0.5 for s in scores], scores), 0.5, rel_tol=1e-9)


@given(SCORES, st.data())
def test_nan_anywhere_is_infinitely_far(scores: list[float], data: st.DataObject) -> None:
    """Whatever its place: a comparison with NaN is false, so the largest of gaps may pass it by."""
    place = data.draw(st.integers(0, len(scores) - 1))
    answers = [math.nan if n == place else s for n, s in enumerate(scores)]
    assert largest_gap(answers, scores) == math.inf
