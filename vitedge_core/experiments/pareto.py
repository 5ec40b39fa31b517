"""The non-dominated front, its knee, and the area it dominates. Every objective here is to be minimised.

References: Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", JACM 1975 (front); Das, "On
characterizing the knee of the Pareto curve based on normal-boundary intersection", Structural Optimization 1999 (knee);
Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms", PPSN 1998 (hypervolume).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = Sequence[float]


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better; of two equal points neither dominates."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def front(points: Sequence[Point]) -> tuple[bool, ...]:
    """Which points nobody dominates. Equal points are on the front together or not at all.

    Args:
        points: Any number of objectives, the same in every point, all finite.
    """
    _check(points)
    order = sorted(range(len(points)), key=lambda index: tuple(points[index]))
    kept: list[int] = []  # in lexicographic order a point can only be dominated by an earlier one
    for index in order:
        if not any(dominates(points[other], points[index]) for other in kept):
            kept.append(index)
    chosen = set(kept)
    return tuple(index in chosen for index in range(len(points)))


def knee(points: Sequence[Point]) -> int | None:
    """Number of the point of a two-dimensional front that bulges most towards the ideal; None where nothing bulges.

    Both objectives are scaled to the range of the front, so units do not matter; the distance is measured from the
    straight line between the ends of the front, where a point is worth no more than a mixture of the two.
    """
    _check(points, objectives=2)
    members = [index for index, on in enumerate(front(points)) if on]
    if len(members) < 3:
        return None
    xs, ys = ([points[index][axis] for index in members] for axis in (0, 1))
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if left == right or low == high:
        return None
    # on the scaled front the line is u + v = 1; what is missing to 1 is the bulge
    bulge = {i: 1 - (points[i][0] - left) / (right - left) - (points[i][1] - low) / (high - low) for i in members}
    best = max(members, key=lambda index: bulge[index])
    return best if bulge[best] > 1e-9 else None


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area that two objectives dominate below a reference point; points beyond it add nothing."""
    _check([*points, reference], objectives=2)
    x_end, y_end = reference
    inside = [tuple(point) for point in points if point[0] < x_end and point[1] < y_end]
    area, ceiling = 0.0, y_end
    for x, y in sorted(inside):
        if y < ceiling:
            area += (x_end - x) * (ceiling - y)
            ceiling = y
    return area


def _check(points: Sequence[Point], objectives: int | None = None) -> None:
    sizes = {len(point) for point in points} | ({objectives} if objectives else set())
    if len(sizes) > 1:
        raise ValueError(f"points of {', '.join(map(str, sorted(sizes)))} objectives cannot be compared")
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("a point that is not finite cannot be compared")
