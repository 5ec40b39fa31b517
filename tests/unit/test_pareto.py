"""The front, the knee and the hypervolume against independent implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _is_pareto_front

from vitedge_core.experiments.pareto import dominates, front, hypervolume, knee

# few distinct values, so that ties are the rule
value = st.integers(0, 6).map(float) | st.floats(-1e6, 1e6, allow_nan=False)
planes = st.lists(st.tuples(value, value), max_size=30)
spaces = st.lists(st.tuples(value, value, value), max_size=30)


@given(planes | spaces)
def test_front_is_what_optuna_finds(points):
    expected = _is_pareto_front(np.array(points), assume_unique_lexsorted=False) if points else []
    assert list(front(points)) == list(expected)


@given(planes | spaces)
def test_front_is_what_nobody_dominates(points):
    def beaten(p):
        return any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)

    assert list(front(points)) == [not beaten(p) for p in points]


def both(points, references):
    """Points and a reference of as many objectives."""
    return st.tuples(points, references)


fronts = both(planes, st.tuples(value, value)) | both(spaces, st.tuples(value, value, value))


@given(fronts)
def test_hypervolume_is_optunas(drawn):
    points, reference = drawn
    below = [p for p in points if all(a < b for a, b in zip(p, reference, strict=True))]
    expected = compute_hypervolume(np.array(below), np.array(reference)) if below else 0.0
    assert hypervolume(points, reference) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@given(fronts)
def test_only_the_front_makes_the_hypervolume(drawn):
    points, reference = drawn
    kept = [p for p, on in zip(points, front(points), strict=True) if on]
    assert hypervolume(kept, reference) == pytest.approx(hypervolume(points, reference), rel=1e-9)


@given(spaces, st.tuples(value, value, value))
def test_a_further_point_never_makes_the_hypervolume_smaller(points, more):
    reference = (7.0, 7.0, 7.0)
    assert hypervolume([*points, more], reference) >= hypervolume(points, reference) * (1 - 1e-9)


def test_hypervolume_of_a_known_body():
    # two bricks of 2 x 1 x 1 that share one unit cube
    assert hypervolume([(0, 1, 1), (1, 0, 1)], (2, 2, 2)) == 3
    assert hypervolume([(0, 0, 0)], (1, 2, 3)) == 6


def test_ties():
    # the second shares its cost with the first and is worse; the last two are equal
    assert front([(1, 1), (1, 2), (2, 0), (2, 0)]) == (True, False, True, True)
    assert not dominates((1, 1), (1, 1))
    assert front([]) == ()


def test_knee_is_where_the_front_bends():
    points = [(0, 10), (1, 2), (5, 1), (10, 0), (9, 9)]
    assert knee(points) == 1
    assert knee([(x * 1000, y / 7) for x, y in points]) == 1  # units do not matter


@pytest.mark.parametrize(
    "points", [[], [(0, 0)], [(0, 1), (1, 0)], [(0, 2), (1, 1), (2, 0)], [(1, 1)] * 4, [(0, 3), (2, 2), (3, 0)]]
)
def test_no_knee_where_nothing_bulges(points):
    assert knee(points) is None


@given(planes)
def test_knee_is_on_the_front(points):
    place = knee(points)
    assert place is None or front(points)[place]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="finite"):
        front([(float("nan"), 1)])
    with pytest.raises(ValueError, match="2, 3 objectives"):
        front([(1, 2), (1, 2, 3)])
    with pytest.raises(ValueError, match="2, 3 objectives"):
        hypervolume([(1, 2, 3)], (1, 2))
    with pytest.raises(ValueError, match="two objectives or more"):
        hypervolume([(1,)], (2,))
