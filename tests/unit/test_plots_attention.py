"""Figures of the Attention page: shared scales, gaps where something was removed, tables that say the same."""

from __future__ import annotations

import numpy as np

from vitedge_core.plots import attention as figures
from vitedge_core.plots import predictions as said

PIXELS = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
EVEN = np.full((4, 4), 1 / 16)
PEAK = np.eye(4) / 4


def test_maps_side_by_side_share_one_scale_from_zero():
    figure = figures.side_by_side(PIXELS, [("baseline", EVEN), ("compressed", PEAK)], opacity=0.3)
    assert len(figure.layout.images) == 3
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 0.25)
    assert [trace.opacity for trace in figure.data] == [0.3, 0.3]


def test_the_scale_holds_no_colour_that_streamlit_replaces():
    placeholders = {f"#0000{number:02x}" for number in range(1, 64)}
    assert not placeholders & {colour.lower() for colour in figures.SCALE}


def test_a_missing_map_leaves_the_faded_image():
    figure = figures.side_by_side(PIXELS, [("baseline", EVEN), ("compressed", None)])
    assert len(figure.data) == 1
    assert [image.opacity for image in figure.layout.images] == [1, 1, 0.25]
    assert figures.map_rows([("baseline", PEAK), ("compressed", None)])[0] == {
        "row": 1,
        "column": 1,
        "baseline": "25.00%",
    }


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


def test_predictions_show_what_either_model_finds_likely():
    before, after = np.array([0.7, 0.1, 0.2, 0.0]), np.array([0.1, 0.85, 0.0, 0.05])
    assert said.likeliest(before, after, 3) == [1, 0, 2]
    figure = said.predictions(before, after, ["a", "b", "c", "d"], truth=0, count=3)
    compressed, baseline = figure.data
    assert list(baseline.y) == ["c", "a ✓", "b"]  # plotly draws the first one lowest
    assert [text.endswith("◀") for text in baseline.text] == [False, True, False]
    assert [text.endswith("◀") for text in compressed.text] == [False, False, True]
    assert said.prediction_rows(before, after, ["a", "b", "c", "d"], 0)[1]["true class"] == "yes"


def test_tokens_are_fenced_in_and_listed():
    owners = np.array([[0, 0, 1], [2, 0, 1], [2, 3, -1]])
    figure = figures.groups(PIXELS, owners)
    xs, ys = figure.data[0].x, figure.data[0].y
    assert len(xs) == len(ys) == 3 * 8  # eight borders, each a line and a lifted pen
    assert figures.group_rows(owners) == [
        {"patches": 3, "row and column of each": "(1, 1) (1, 2) (2, 2)"},
        {"patches": 2, "row and column of each": "(1, 3) (2, 3)"},
        {"patches": 2, "row and column of each": "(2, 1) (3, 1)"},
    ]
