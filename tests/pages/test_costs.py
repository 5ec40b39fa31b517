"""The Costs page without a browser: every section, both units, other sizes and batches, and what is not possible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from vitedge_core.experiments import scaling
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, cost_scaling

APP = Path(__file__).parents[2] / "app.py"
STEPS = (Step.of("head_mlp_magnitude", ratio=0.5), Step.of("magnitude", ratio=0.6), Step.of("uniform_ptq", w_bits=8))
RECIPE = Recipe("digits_vit_small", STEPS)
WHERE, SIZES, MEMORY, GROWTH = (
    ":material/bar_chart: Where", ":material/save: Sizes", ":material/memory: Memory", ":material/trending_up: Growth",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Build page comes first and would start to measure."""
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Not now.")


def opened(recipe: Recipe = RECIPE) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["r"] = recipe.to_token()
    app.run()
    app.switch_page("pages/costs.py").run()
    assert not app.exception
    assert not app.error
    return app


def section(app: AppTest, name: str) -> AppTest:
    app.segmented_control(key="costs-section").set_value(name).run()
    assert not app.exception
    return app


def figure(app: AppTest) -> dict:
    (chart,) = app.get("plotly_chart")
    return json.loads(chart.proto.spec)


def words(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.info, *app.markdown, *app.caption]
    return "\n".join(str(element.value) for element in shown)


def cards(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_where_costs_are_by_kind_and_by_block():
    app = opened()
    before, after = cache.priced(RECIPE, 48, 1)[1:]
    bars = figure(app)["data"]
    assert [bar["name"] for bar in bars] == ["Baseline", "Compressed"]
    assert sum(bars[0]["x"]) == before.macs.value
    assert sum(bars[1]["x"]) == after.macs.value
    app.segmented_control(key="costs-view").set_value("by_block").run()
    assert "block 0" in figure(app)["data"][0]["y"]
    app.segmented_control(key="costs-figure").set_value("intensity").run()
    assert figure(app)["layout"]["xaxis"]["title"]["text"] == "MAC per byte"


def test_flops_hold_for_the_whole_session():
    app = opened()
    macs = cards(app)["MACs"]
    app.segmented_control(key="operations-costs").set_value("FLOP").run()
    assert "MACs" not in cards(app)
    assert cards(app)["FLOPs"].endswith("FLOP")
    assert figure(app)["layout"]["xaxis"]["title"]["text"] == "FLOP"
    assert sum(figure(app)["data"][1]["x"]) == 2 * cache.priced(RECIPE, 48, 1)[2].macs.value
    app.switch_page("pages/build.py").run()
    assert cards(app)["FLOPs"].endswith("FLOP")
    app.segmented_control(key="operations-build").set_value("MAC").run()
    app.switch_page("pages/costs.py").run()
    assert cards(app)["MACs"] == macs


def test_each_size_is_named_for_what_it_is():
    app = section(opened(), SIZES)
    drawn = figure(app)["data"][0]
    after = cache.priced(RECIPE, 48, 1)[2]
    assert drawn["y"][:2] == ["Dense, float32", "File that is written"]
    assert drawn["marker"]["pattern"]["shape"] == ["", "", "/", "/"]
    assert drawn["x"] == [
        after.dense_bytes.value, after.weight_bytes.value, after.theoretical_bytes.value, after.two_of_four_bytes.value,
    ]  # fmt: skip
    assert "These zeros lie anywhere, so the 2:4 format cannot hold them" in words(app)


def test_without_zeros_nothing_is_said_of_them():
    app = section(opened(Recipe("digits_vit_small")), SIZES)
    assert not app.info


def test_memory_shows_what_is_alive_and_where_the_peak_is():
    app = section(opened(), MEMORY)
    told = figure(app)
    layers = told["data"][:5]
    after = cache.priced(RECIPE, 48, 1)[2]
    peak = max(sum(values) for values in zip(*(layer["y"] for layer in layers), strict=True))
    assert peak == after.peak_memory_bytes.value
    assert told["layout"]["annotations"][0]["y"] == peak
    assert "At its peak, in `" in words(app)


def test_growth_shows_the_square_of_attention():
    app = section(opened(), GROWTH)
    lines = {line["name"]: line for line in figure(app)["data"]}
    assert any(name.startswith("attention products (power 1.9") for name in lines)
    assert next(iter(lines.values()))["x"] == [24, 48, 72, 96, 120, 144]


def test_kinds_of_attention_side_by_side(monkeypatch):
    monkeypatch.setattr(scaling, "ATTENTIONS", {"digits_vit_small": "global", "digits_swin": "windows"})
    monkeypatch.setattr(scaling, "COMPARED", (48, 96))
    app = section(opened(), GROWTH)
    app.segmented_control(key="costs-curves").set_value(cost_scaling.KINDS).run()
    assert not app.exception
    powers = [line["name"].partition("power ")[2] for line in figure(app)["data"]]
    assert powers[0] > "1.9"
    assert powers[1] < "1.3"


def test_cancelled_curves_wait_until_they_are_asked_for_again(monkeypatch):
    monkeypatch.setattr(scaling, "trace", lambda *_: pytest.fail("it goes on"))
    app = section(opened(), WHERE)
    app.session_state["kept-curves-cancelled"] = f"{cache.planned(RECIPE)[0].runnable.digest} 1"
    section(app, GROWTH)
    assert "Cancelled." in words(app)
    monkeypatch.undo()
    app.button(key="curves-again").click().run()
    assert len(app.get("plotly_chart")) == 1


def test_another_size_and_a_batch():
    app = opened()
    app.number_input(key="costs-image-digits_vit_small").set_value(96).run()
    app.number_input(key="costs-batch").set_value(4).run()
    assert not app.error
    assert "are those of all 4 images" in words(app)
    after = cache.priced(RECIPE, 96, 4)[2]
    assert sum(figure(app)["data"][1]["x"]) == after.macs.value


def test_a_size_the_model_cannot_take_is_one_sentence():
    app = opened()
    app.number_input(key="costs-image-digits_vit_small").set_value(3).run()
    assert not app.exception
    (error,) = app.error
    assert "cannot take images of 3x3 pixels; its own size is 48x48" in str(error.value)
    app.number_input(key="costs-image-digits_vit_small").set_value(48).run()
    assert not app.error
    assert len(app.get("plotly_chart")) == 1


def test_a_step_that_cannot_be_carried_out_is_told():
    app = opened(Recipe("digits_convnet", (Step.of("tome", r=4),)))
    assert app.warning
    assert len(app.get("plotly_chart")) == 1
