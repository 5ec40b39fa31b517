"""What the figures of the Build page show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.plots.build import Fall, block_bars, falls, waterfall


def test_falls_say_what_each_step_takes_away() -> None:
    assert falls(["prune", "merge"], [10.0, 6.0, 7.0]) == (Fall("prune", 10, -4, 6), Fall("merge", 6, 1, 7))


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=13))
def test_the_contributions_add_up(values: list[int]) -> None:
    steps = falls([f"step {i}" for i in range(len(values) - 1)], values)
    assert values[0] + sum(step.change for step in steps) == values[-1]


def test_falls_need_one_value_more_than_labels() -> None:
    with pytest.raises(ValueError, match="zip"):
        falls(["prune"], [10.0])


def test_the_waterfall_begins_at_the_baseline_and_ends_at_the_total() -> None:
    steps = falls(["tome", "tome"], [10.0, 6.0, 5.0])
    bars = waterfall(steps, 10.0, ["10", "-4", "-1", "5"], "MAC").data[0]
    assert list(bars.x) == ["Baseline", "1. tome", "2. tome", "Compressed"]  # equal names would share a bar
    assert list(bars.y) == [10.0, -4.0, -1.0, 0]
    assert list(bars.measure) == ["absolute", "relative", "relative", "total"]


def test_a_recipe_without_steps_still_has_a_figure() -> None:
    assert list(waterfall((), 0.0, ["0", "0"], "MAC").data[0].x) == ["Baseline", "Compressed"]


def test_block_bars_stand_beside_each_other() -> None:
    figure = block_bars(["blocks.0", "blocks.1"], [4.0, 4.0], [2.0, 0.0], "MAC")
    assert [bar.name for bar in figure.data] == ["Baseline", "Compressed"]
    assert figure.layout.barmode == "group"
    assert list(figure.data[1].y) == [2.0, 0.0]
