"""What the figures of the Costs page show."""

from __future__ import annotations

from vitedge_core.cost.memory import Moment
from vitedge_core.plots.build import Pair
from vitedge_core.plots.costs import LAYERS, Bar, Curve, growth_curves, memory_timeline, part_bars, size_bars


def test_parts_stand_from_above_in_their_order():
    figure = part_bars([Pair("MLP", 4, 2), Pair("attention", 3, 0)], "MAC")
    assert [bar.name for bar in figure.data] == ["Baseline", "Compressed"]
    assert list(figure.data[1].x) == [2, 0]
    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.data[0].marker.pattern.shape != figure.data[1].marker.pattern.shape  # told apart without colour


def test_theoretical_sizes_are_hatched_and_the_baseline_is_a_line():
    figure = size_bars([Bar("file", 4, "4 B"), Bar("sparse", 3, "3 B", theoretical=True)], 9)
    assert list(figure.data[0].marker.pattern.shape) == ["", "/"]
    assert figure.layout.shapes[0].x0 == 9
    assert figure.layout.xaxis.range[1] > 9


def test_memory_adds_up_and_the_peak_is_marked():
    moments = [Moment("a", 1, 2, 3, 0), Moment("b", 4, 5, 6, 7), Moment("c", 0, 1, 1, 0)]
    figure = memory_timeline(10, moments, [40, 50, 60])
    stacked = figure.data[: len(LAYERS)]
    assert [sum(layer.y[place] for layer in stacked) for place in range(3)] == [10 + m.total for m in moments]
    assert len({layer.fillpattern.shape for layer in stacked}) == len(LAYERS)
    assert [name for name, *_ in LAYERS] == [layer.name for layer in stacked]
    (note,) = figure.layout.annotations
    assert (note.x, note.y, note.text) == (1, 32, "peak: b")
    assert list(figure.data[-1].y) == [40, 50, 60]


def test_a_baseline_with_more_operations_is_drawn_over_the_same_width():
    moments = [Moment("a", 1, 2, 3, 0)] * 3
    figure = memory_timeline(10, moments, [40] * 5)
    assert list(figure.data[-1].x) == [0, 0.5, 1, 1.5, 2]


def test_nothing_in_memory_is_still_a_figure():
    assert not memory_timeline(10, [], []).layout.annotations


def test_curves_are_told_by_colour_dash_and_shape_and_leave_zeros_out():
    curves = [Curve(f"kind {number}", [48, 96], [0 if number else 2, 8], ["a", "b"]) for number in range(3)]
    figure = growth_curves(curves, "MAC")
    assert [list(line.x) for line in figure.data] == [[48, 96], [96], [96]]
    assert len({(line.line.color, line.line.dash, line.marker.symbol) for line in figure.data}) == 3
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["48", "96"]
