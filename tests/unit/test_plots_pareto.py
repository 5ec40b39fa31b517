"""The figures of the Pareto page: step lines, budgets, many marks, space, knobs, and a page to keep."""

import pytest

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plots import pareto as plots
from vitedge_core.plots.knobs import Line, explained, parallel
from vitedge_core.plots.page import page
from vitedge_core.plots.pareto import Axis, Mark, pareto
from vitedge_core.plots.pareto_space import pareto_space
from vitedge_core.plots.published import Printed, published


def mark(x, y, z=None, **more):
    third = None if z is None else (z, z, z)
    return Mark(f"{x}", more.pop("group", "model"), (x, x, x), (y, y - 0.1, y + 0.1), "text", third=third, **more)


MARKS = [mark(1, 0.5, 3, on_front=True), mark(2, 0.8, 1, on_front=True, knee=True), mark(3, 0.7, 2, inside=False)]


def traces(figure):
    return {trace.name: trace for trace in figure.data}


@pytest.mark.parametrize(("higher", "shape"), [(False, "hv"), (True, "vh")])
def test_the_step_line_encloses_what_the_front_reaches(higher, shape):
    # fewer: what costs at most 1.5 gains no more than the point at 1; more: whoever wants 1.5 gets the point at 2
    line = traces(pareto(MARKS, Axis("x", higher=higher), Axis("y")))["Pareto front"]
    assert line.line.shape == shape
    assert tuple(line.x) == (1, 2)


def test_dominated_marks_are_open_and_those_beyond_the_budget_dim():
    found = traces(pareto(MARKS, Axis("x", limit=2.5), Axis("y", limit=0.6)))
    assert found["model"].marker.symbol == "circle"
    dominated = found["model, not on the front"]
    assert dominated.marker.symbol == "circle-open"
    assert dominated.marker.opacity <= 0.2 < found["model"].marker.opacity
    figure = pareto(MARKS, Axis("x", limit=2.5), Axis("y", limit=0.6))
    assert [(line.x0, line.y0) for line in figure.layout.shapes] == [(2.5, 0), (0, 0.6)]
    assert not pareto(MARKS, Axis("x"), Axis("y")).layout.shapes


def test_groups_differ_in_colour_and_shape():
    found = traces(pareto([mark(1, 0.5, group="a"), mark(2, 0.6, group="b")], Axis("x"), Axis("y")))
    looks = [(t.marker.color, t.marker.symbol) for name, t in found.items() if name != "Pareto front"]
    assert len({colour for colour, _ in looks}) == len({shape for _, shape in looks}) == 2


def test_a_third_objective_is_the_size_of_the_marks():
    figure = pareto(MARKS, Axis("x"), Axis("y"), third=True)
    assert "Pareto front" not in traces(figure)
    small, large = traces(figure)["model"].marker.size[::-1]
    assert (small, large) == (pytest.approx(plots.SMALL), pytest.approx(plots.LARGE))


def test_thousands_of_marks_are_drawn_without_bars_and_by_the_graphics_card():
    crowd = [mark(1 + n / 1e4, 0.4) for n in range(plots.MANY + 1)]
    figure = pareto([*MARKS, *crowd], Axis("x"), Axis("y"))
    found = traces(figure)
    (many,) = [trace for trace in figure.data if len(trace.x) > plots.MANY]
    assert many.type == "scattergl"
    assert many.error_y.array is None
    assert found["model"].type == "scatter"
    assert len(found["model"].error_y.array) == 2


def test_labels_stand_above_their_marks_in_one_trace():
    figure = pareto([mark(1, 0.5, label="one"), mark(2, 0.6), mark(3, 0.7, label="two")], Axis("x"), Axis("y"))
    (words,) = [trace for trace in figure.data if trace.mode == "text"]
    assert list(zip(words.x, words.text, strict=True)) == [(1, "one"), (3, "two")]
    assert tuple(words.y) == (pytest.approx(0.6), pytest.approx(0.8))  # at the upper ends of their bars
    assert not figure.layout.annotations


def test_space_holds_every_mark_and_joins_the_front_to_the_floor():
    figure = pareto_space(MARKS, (Axis("x"), Axis("y"), Axis("z")))
    assert sum(len(trace.x) for trace in figure.data if trace.mode == "markers") == 3
    stems = figure.data[-1]
    assert list(stems.z) == [1, 3, None, 1, 1, None]


def test_parallel_lines_put_words_in_order():
    figure = parallel(
        [Line("bits", (4, 8, 4)), Line("way", ("two", "one", "two"), words=True)], [0.1, 0.2, 0.3], "gain"
    )
    number, word = figure.data[0].dimensions
    assert tuple(number.values) == (4, 8, 4)
    assert (tuple(word.ticktext), tuple(word.values)) == (("one", "two"), (1, 0, 1))


def test_what_knobs_explain_stands_with_its_range():
    share = Quantity(0.7, "share", Evidence.PREDICTED, "forest", 0.6, 0.75)
    bar = explained([("ratio", share), ("bits", Quantity(0.3, "share", Evidence.PREDICTED, "forest", 0.2, 0.4))]).data[
        0
    ]
    assert tuple(bar.y) == ("bits", "ratio")
    assert bar.error_x.array[1] == pytest.approx(0.05)
    assert bar.error_x.arrayminus[1] == pytest.approx(0.1)


def test_families_of_published_results_keep_their_looks():
    rows = [Printed("a", 1, 0.5, "x", on_front=True), Printed("b", 2, 0.4, "y", checked=False)]
    both = traces(published(rows, ("a", "b"), Axis("x"), spread=True))
    alone = traces(published(rows[1:], ("a", "b"), Axis("x"), spread=False))
    assert both["b"].marker.color == alone["b"].marker.color != both["a"].marker.color
    assert tuple(both["b"].marker.symbol) == ("square-open",)
    assert tuple(both["Best published"].x) == (1,)


def test_a_page_of_its_own_needs_no_network_and_runs_nothing_foreign():
    text = page(pareto(MARKS, Axis("x"), Axis("y")), "<b>title</b>", "a & b")
    assert "&lt;b&gt;title" in text
    assert "a &amp; b" in text
    assert len(text) > 3_000_000  # Plotly itself
    assert '<script src="http' not in text


def test_a_few_results_near_zero_do_not_press_the_rest_together():
    rows = [Printed("a", 1 + n, 0.7, "x") for n in range(40)] + [Printed("a", 2, 0.001, "x")]
    assert published(rows, ("a",), Axis("x"), spread=True, floor=0.65).layout.yaxis.range[0] == 0.65
    assert published(rows, ("a",), Axis("x"), spread=True).layout.yaxis.range is None
