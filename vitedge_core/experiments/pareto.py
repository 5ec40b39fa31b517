"""The non-dominated front, its knee, and what it dominates. Every objective here is to be minimised.

References: Kung, Luccio and Preparata, "On finding the maxima of a set of vectors", JACM 1975 (front); Das, "On
characterizing the knee of the Pareto curve based on normal-boundary intersection", Structural Optimization 1999 (knee);
Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms", PPSN 1998 (hypervolume).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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
    if not points:
        return ()
    # the distinct points in lexicographic order: one can only be dominated by an earlier one, and none equals it
    distinct, where = np.unique(np.asarray(points, float) + 0.0, axis=0, return_inverse=True)
    kept = np.empty_like(distinct)
    on, count = np.zeros(len(distinct), bool), 0
    for index, point in enumerate(distinct):
        if not (kept[:count] <= point).all(axis=1).any():
            kept[count], on[index] = point, True
            count += 1
    return tuple(on[where.ravel()].tolist())


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
    """What the points dominate below a reference point, in two or more objectives; points beyond it add nothing.

    Slice by slice along the last objective, as in While et al., "A faster algorithm for calculating hypervolume", IEEE
    Trans. Evolutionary Computation 2006: quick for two and three objectives and fronts of hundreds of points.
    """
    _check([*points, reference])
    if len(reference) < 2:
        raise ValueError("a hypervolume needs two objectives or more")
    inside = [tuple(p) for p in points if all(value < end for value, end in zip(p, reference, strict=True))]
    return _volume([p for p, on in zip(inside, front(inside), strict=True) if on], tuple(reference))


def _volume(points: Sequence[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    if len(reference) == 2:
        return _area(points, reference)
    order = sorted(points, key=lambda point: point[-1])
    volume, above = 0.0, []
    for number, point in enumerate(order, 1):
        above.append(point[:-1])  # it dominates in this slice and in all that follow
        end = order[number][-1] if number < len(order) else reference[-1]
        if end > point[-1]:
            volume += (end - point[-1]) * _volume(above, reference[:-1])
    return volume


def _area(points: Sequence[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    x_end, ceiling = reference
    area = 0.0
    for x, y in sorted(points):
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
