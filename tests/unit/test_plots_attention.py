"""Figures of the Attention page: shared scales, gaps where something was removed, tables that say the same."""

from __future__ import annotations

import numpy as np

from vitedge_core.plots import attention as figures
from vitedge_core.plots import attribution, canvas, tokens
from vitedge_core.plots import predictions as said

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
EVEN = np.full((4, 4), 1 / 16)
PEAK = np.eye(4) / 4


def heats(figure):
    return [trace for trace in figure.data if trace.type == "heatmap"]


def test_a_map_lies_on_the_scale_it_is_given_and_every_patch_can_be_clicked():
    top = figures.top_of(EVEN, None, PEAK)
    figure = figures.panel(PIXELS, EVEN, "baseline", top, opacity=0.3, patch=6)
    (heat,) = heats(figure)
    assert (heat.zmin, heat.zmax, heat.opacity) == (0, 0.25, 0.3)
    marks = next(trace for trace in figure.data if trace.type == "scatter")
    assert list(marks.customdata) == list(range(16))
    assert (marks.x[6], marks.y[6]) == (2.5 / 4, 1.5 / 4)
    assert marks.text[6].startswith("row 2, column 3: 6.25%")
    (frame,) = figure.layout.shapes
    assert (frame.x0, frame.x1, frame.y0, frame.y1) == (0.5, 0.75, 0.25, 0.5)


def test_the_difference_is_centred_on_zero():
    (heat,) = heats(figures.difference(PIXELS, EVEN, PEAK))
    assert heat.zmin == -heat.zmax
    assert heat.zmax == 0.25 - 1 / 16
    assert np.allclose(heat.z, PEAK - EVEN, atol=1e-6)


def test_the_wipe_moves_an_edge_between_both_maps():
    figure = figures.wipe(PIXELS, EVEN, PEAK, 0.25)
    left, right = heats(figure)
    assert np.allclose(left.z, EVEN)
    assert np.allclose(right.z, PEAK)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 0.25)
    steps = [step.args[0] for step in figure.layout.sliders[0].steps]
    for step in steps:
        assert list(step["xaxis.domain"]) == list(step["xaxis.range"])  # nothing is stretched
        assert step["xaxis.range"][1] == step["xaxis2.range"][0]
    edges = [step["xaxis.range"][1] for step in steps]
    assert edges == sorted(edges)
    assert edges[0] < 0.01
    assert edges[-1] > 0.99


def test_the_scales_hold_no_colour_that_streamlit_replaces():
    placeholders = {f"#0000{number:02x}" for number in range(1, 64)}
    assert not placeholders & {colour.lower() for colour in (*canvas.SCALE, *canvas.SIGNED)}


def test_a_missing_map_leaves_the_faded_image():
    figure = figures.panel(PIXELS, None, "compressed", 1)
    assert figure.data == ()
    assert [image.opacity for image in figure.layout.images] == [0.25]
    assert figures.map_rows([("baseline", PEAK), ("compressed", None)])[0] == {
        "row": 1, "column": 1, "baseline": "25.00%",
    }  # fmt: skip
    assert figures.map_rows([("baseline", 3 * PEAK)], percent=False)[0]["baseline"] == "0.75"


def test_every_column_of_the_strip_has_a_scale_of_its_own():
    rows = [("baseline", [EVEN, PEAK, EVEN]), ("compressed", [PEAK, EVEN, None])]
    figure = figures.strip(PIXELS, rows, ["1", "2", "3"], chosen=1)
    heats = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [heat.zmax for heat in heats] == [0.25, 0.25, 1 / 16, 0.25, 0.25]
    targets = next(trace for trace in figure.data if trace.type == "scatter")
    assert list(targets.customdata) == [0, 1, 2, 0, 1, 2]
    assert figures.strip_rows(rows, ["1", "2", "3"])[2] == {
        "block": "3", "baseline": "row 1, column 1: 6.2%", "compressed": "removed",
    }  # fmt: skip


def test_predictions_show_what_either_model_finds_likely_and_mark_the_flip():
    before, after = np.array([0.7, 0.1, 0.2, 0.0]), np.array([0.1, 0.85, 0.0, 0.05])
    assert said.likeliest(before, after, 3) == [1, 0, 2]
    figure = said.predictions(before, after, ["a", "b", "c", "d"], truth=0, count=3)
    compressed, baseline = figure.data
    assert list(baseline.y) == ["c", "a ✓", "b"]  # plotly draws the first one lowest
    assert [text.endswith("◀") for text in baseline.text] == [False, True, False]
    assert [text.endswith("new answer") for text in compressed.text] == [False, False, True]
    assert list(compressed.marker.color) == [said.AFTER, said.AFTER, said.NEW]
    assert said.prediction_rows(before, after, ["a", "b", "c", "d"], 0)[1]["true class"] == "yes"
    calm = said.predictions(before, before, ["a", "b", "c", "d"], count=3)
    assert said.NEW not in calm.data[0].marker.color


OWNERS = np.array([[0, 0, 1], [2, 0, 1], [2, 3, -1]])


def test_tokens_are_fenced_in_and_listed():
    figure = tokens.groups(PIXELS, OWNERS)
    xs, ys = figure.data[0].x, figure.data[0].y
    assert len(xs) == len(ys) == 3 * 8  # eight borders, each a line and a lifted pen
    assert tokens.group_rows(OWNERS) == [
        {"fate": "merged", "patches": 3, "row and column of each": "(1, 1) (1, 2) (2, 2)"},
        {"fate": "merged", "patches": 2, "row and column of each": "(1, 3) (2, 3)"},
        {"fate": "merged", "patches": 2, "row and column of each": "(2, 1) (3, 1)"},
        {"fate": "dropped", "patches": 1, "row and column of each": "(3, 3)"},
    ]
    assert tokens.counts(OWNERS) == (1, 7, 1)


def test_a_dropped_patch_is_crossed_out_and_a_chosen_one_framed_with_its_company():
    figure = tokens.groups(PIXELS, OWNERS, chosen=1)
    crosses, marks = figure.data[1], figure.data[2]
    assert (list(crosses.x), list(crosses.y)) == ([2.5 / 3], [2.5 / 3])
    assert [text.split(": ")[1].split("<")[0] for text in (marks.text[0], marks.text[7], marks.text[8])] == [
        "one of 3 in its token", "a token of its own", "dropped",
    ]  # fmt: skip
    assert len(figure.layout.shapes) == 3
    assert tokens.together(OWNERS, 8) == [8]
    assert tokens.together(OWNERS, None) == []


def test_signed_attributions_are_centred_and_share_a_scale():
    before, after = np.array([[1.0, -2.0]]), np.array([[0.0, 4.0]])
    top = attribution.top_of(before, after)
    assert 3.9 < top <= 4
    (heat,) = heats(attribution.panel(PIXELS, before, "baseline", top, signed=True, unit="logit"))
    assert (heat.zmin, heat.zmax) == (-top, top)
    (heat,) = heats(attribution.panel(PIXELS, before, "baseline", top, signed=False, unit="logit"))
    assert heat.zmin == 0
    assert attribution.map_rows([("a", before), ("b", after)])[0] == {
        "row": "1 of 1", "column": "2 of 2", "a": "-2", "b": "+4",
    }  # fmt: skip


def test_removed_heads_are_gaps():
    table = np.array([[0.5, np.nan]])
    (heat,) = heats(attribution.heads(table, "compressed", attribution.top_of(table)))
    assert heat.text == (("+0.50", "removed"),) or heat.text[0][1] == "removed"
    assert attribution.head_rows([("compressed", table)])[1] == {"block": 1, "head": 2, "compressed": "removed"}
