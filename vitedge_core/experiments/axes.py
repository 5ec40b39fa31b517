"""The dimensions of a sweep: knobs with their values, and which blocks a knob names.

Every dimension is a list of values; a search method that knows numbers sees evenly spaced ones as a range.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from vitedge_core.techniques.base import Knob, Technique

MOST_VALUES = 200
MOST_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class Axis:
    """A knob that varies: number of the step in the recipe, name of the knob, its values."""

    step: int
    knob: str
    values: tuple[Scalar, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"step": self.step, "knob": self.knob, "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Blocks:
    """A knob that names blocks, such as "2,5": each of these blocks may be named or not."""

    step: int
    knob: str
    blocks: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"step": self.step, "knob": self.knob, "blocks": list(self.blocks)}


@dataclass(frozen=True, slots=True)
class Choice:
    """One dimension of the search: what may be chosen."""

    values: tuple[Scalar, ...]

    def distribution(self, *, ordered: bool) -> BaseDistribution:
        """For Optuna; `ordered` makes a range of evenly spaced numbers, which some methods use."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        gap = _gap(self.values) if ordered else None
        if gap is None:
            return CategoricalDistribution(self.values)
        first, last = self.values[0], self.values[-1]
        if isinstance(gap, int):
            return IntDistribution(int(first), int(last), step=gap)
        return FloatDistribution(float(first), float(last), step=gap)

    def nearest(self, value: Scalar) -> Scalar:
        """The value that is meant: floats come back from a range with a rounding error."""
        if value in self.values and type(value) is not float:
            return value
        numbers = [one for one in self.values if isinstance(one, int | float) and not isinstance(one, bool)]
        if not numbers or isinstance(value, bool | str):
            return value if value in self.values else self.values[0]
        return min(numbers, key=lambda one: abs(one - value))


def read_axis(plain: object) -> Axis | Blocks:
    """The axis such values describe; anything else is refused in one sentence."""
    try:
        assert isinstance(plain, dict)
        step, knob = int(plain["step"]), str(plain["knob"])
        if "blocks" in plain:
            return Blocks(step, knob, tuple(int(number) for number in _few(plain["blocks"], MOST_BLOCKS, knob)))
        if "values" in plain:
            return Axis(step, knob, tuple(_few(plain["values"], MOST_VALUES * 20, knob)))
        return Axis(step, knob, spaced(float(plain["low"]), float(plain["high"]), float(plain["by"])))
    except (AssertionError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise VitEdgeError(
            'An axis of a space must look like {"step": 0, "knob": "ratio", "values": [0.2, 0.4]}, with '
            '"low", "high" and "by" instead of "values", or with "blocks": [0, 1, 2].'
        ) from error


def spaced(low: float, high: float, by: float) -> tuple[Scalar, ...]:
    """Numbers from `low` to `high`, `by` apart; whole ones where all three are.

    Raises:
        VitEdgeError: There are none, or too many.
    """
    if not (math.isfinite(low) and math.isfinite(high) and math.isfinite(by)) or by <= 0 or high < low:
        raise VitEdgeError(f"There is no value from {low:g} to {high:g} in steps of {by:g}.")
    count = math.floor((high - low) / by + 1e-9) + 1
    if count > MOST_VALUES:
        raise VitEdgeError(f"From {low:g} to {high:g} in steps of {by:g} are {count:,} values; at most {MOST_VALUES}.")
    values = [low + number * by for number in range(count)]
    whole = all(number == int(number) for number in (low, by))
    return tuple(int(value) if whole else round(value, 10) for value in values)


def range_around(knob: Knob, value: float) -> tuple[float, float]:
    """From half of a knob's value to twice of it, on its steps and within its range; all of it around 0."""
    low, high, step = knob.low or 0, knob.high or 0, knob.step or 1
    if value <= 0:
        return low, high

    def place(wanted: float) -> float:
        return round(min(max(low + step * round((wanted - low) / step), low), high), 10)

    return place(value / 2), place(value * 2)


def values_between(knob: Knob, low: float, high: float, count: int) -> tuple[Scalar, ...]:
    """About `count` evenly spread values of a numeric knob, on its own steps; both ends are among them."""
    step = knob.step or 1
    places = {round((low + (high - low) * i / max(1, count - 1) - (knob.low or 0)) / step) for i in range(count)}
    values = ((knob.low or 0) + place * step for place in sorted(places))
    whole = isinstance(knob.default, int)
    return tuple(int(value) if whole else round(value, 10) for value in values if value <= high + step * 1e-6)


def class_of(key: str) -> type[Technique]:
    """The technique's class.

    Raises:
        VitEdgeError: There is none of that name.
    """
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core.registry import technique

    return technique(key)


def _few(values: Iterable[Any], most: int, knob: str) -> Sequence[Any]:
    found = list(values)
    if isinstance(values, str) or len(found) > most:
        raise VitEdgeError(f"{knob[:60]} needs a list of at most {most:,} values.")
    if not all(isinstance(value, bool | int | float | str) for value in found):
        raise VitEdgeError(f"A value of {knob[:60]} is neither a number nor a text.")
    return found


def _gap(values: Sequence[Scalar]) -> float | None:
    """The distance between neighbours, if they are numbers in order with one and the same; whole for whole ones."""
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < max(3, len(values)):
        return None
    gap = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
    even = all(abs(numbers[0] + gap * place - one) < 1e-6 * abs(gap) for place, one in enumerate(numbers))
    if gap <= 0 or not even:
        return None
    return round(gap) if all(isinstance(value, int) for value in values) else round(gap, 10)
