"""What the figures of the Build page show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.cost.report import Part
from vitedge_core.plots.build import BEFORE, LESS, MORE, WHOLE, Fall, Pair, block_bars, falls, pairs, spoken, waterfall


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
    assert list(bars.y) == [10.0, 4.0, 1.0, 5.0]
    assert list(bars.base) == [0.0, 6.0, 5.0, 0.0]


def test_a_step_that_costs_more_hangs_above_and_is_painted_so() -> None:
    bars = waterfall(falls(["more", "less"], [10.0, 12.0, 9.0]), 10.0, list("abcd"), "MAC").data[0]
    assert list(bars.base) == [0.0, 10.0, 9.0, 0.0]
    assert list(bars.marker.color) == [BEFORE, MORE, LESS, WHOLE]


def test_long_labels_are_broken_not_overlapped() -> None:
    name = "Heads and MLP neurons by Taylor importance and much more than fits below one bar"
    label = waterfall(falls([name], [10.0, 6.0]), 10.0, list("abc"), "MAC").data[0].x[1]
    assert label.count("<br>") == 2
    assert label.endswith("…")


def test_a_recipe_without_steps_still_has_a_figure() -> None:
    assert list(waterfall((), 0.0, ["0", "0"], "MAC").data[0].x) == ["Baseline", "Compressed"]


def test_block_bars_stand_beside_each_other() -> None:
    figure = block_bars([Pair("block 0", 4, 2), Pair("block 1", 4, 0)], "MAC")
    assert [bar.name for bar in figure.data] == ["Baseline", "Compressed"]
    assert figure.layout.barmode == "group"
    assert list(figure.data[1].y) == [2, 0]


def part(label: str, macs: int) -> Part:
    return Part(label, macs, 0, 0, 0, 0)


def test_pairs_keep_the_order_and_know_what_is_gone() -> None:
    before = (part("patch_embed", 5), part("blocks.0", 4), part("blocks.1", 4), part("norm", 0))
    after = (part("patch_embed", 5), part("blocks.0", 2), part("norm", 0))
    assert pairs(before, after, "macs") == (Pair("patches", 5, 5), Pair("block 0", 4, 2), Pair("block 1", 4, 0))


@pytest.mark.parametrize(
    ("path", "label"),
    [("blocks.3", "block 3"), ("layers.1.blocks.0", "stage 1, block 0"), ("pos_embed", "pos embed"), ("7", "7")],
)
def test_paths_are_spoken(path: str, label: str) -> None:
    assert spoken(path) == label
