"""The roofline panel by itself: device, marks, arrows, the card of a mark, energy, and this machine measured."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from vitedge_core.cost import own_devices
from vitedge_core.cost.own_devices import Machine
from vitedge_core.recipe import Recipe, Step


def script() -> None:
    import streamlit as st

    from vitedge_core.ui import cache, layout, roofline, state

    state.start()
    with layout.guarded():
        planned, _ = cache.planned(state.current_recipe())
        roofline.panel(planned)
    st.caption("the end")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))


def panel(*steps: Step) -> AppTest:
    app = AppTest.from_function(script, default_timeout=60)
    app.query_params["r"] = Recipe("digits_vit_base", steps).to_token()
    return checked(app.run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    assert [error.value for error in app.error] == []
    assert app.caption[-1].value == "the end"
    return app


def figure(app: AppTest) -> dict:
    (chart,) = app.get("plotly_chart")
    assert "Roofline of" in chart.proto.alt
    return json.loads(chart.proto.spec)


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def test_without_steps_there_is_one_set_of_marks_and_no_arrow():
    drawn = figure(panel())
    assert not drawn["layout"].get("annotations")
    names = [trace["name"] for trace in drawn["data"]]
    assert names[0] == "Roof, 32 bits"
    assert "Baseline" not in names
    assert {"MLP", "attention products", "classifier"} <= set(names)
    looks = [(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in drawn["data"][1:]]
    assert len(looks) == len(set(looks)), "two kinds look alike"


def test_a_recipe_has_arrows_from_before_to_after_and_a_second_roof():
    drawn = figure(panel(Step.of("uniform_ptq", w_bits=8, a_bits=8)))
    names = [trace["name"] for trace in drawn["data"]]
    assert names[:3] == ["Roof, 8 bits", "Roof, 32 bits", "Baseline"]
    assert drawn["layout"]["annotations"]
    for arrow in drawn["layout"]["annotations"]:
        assert (arrow["x"], arrow["y"]) != (arrow["ax"], arrow["ay"])
    top = max(drawn["data"][0]["y"])
    for trace in drawn["data"][2:]:
        assert max(trace["y"]) <= top * 1.001


def test_kinds_and_blocks_are_sums():
    app = panel(Step.of("head_mlp_magnitude", ratio=0.5))
    for view, count in (("by_kind", 6), ("by_block", 8)):
        app.button_group(key="roofline-view").set_value(view).run()
        marks = [trace for trace in figure(checked(app))["data"] if trace["mode"] == "markers"]
        assert sum(len(trace["x"]) for trace in marks if trace["name"] != "Baseline") == count


def test_a_mark_that_was_clicked_has_a_card_with_shapes_and_bytes():
    app = panel()
    app.session_state["kept-roofline-mark"] = "blocks.0.mlp.fc1"  # what a click stores; AppTest cannot click
    checked(app.run())
    shown = metrics(app)
    assert {"Time at best", "Share of the time", "MACs", "Bytes moved"} <= set(shown)
    told = " ".join(markdown.value for markdown in app.markdown)
    assert "65 rows of 128 inputs give 512 outputs each" in told
    assert "of weights at 32 bits" in told
    app.button_group(key="roofline-view").set_value("by_kind").run()
    assert "Bytes moved" not in metrics(checked(app))


def test_energy_has_its_parts_and_the_power_bound():
    app = panel(Step.of("head_mlp_magnitude", ratio=0.5))
    assert {"Energy", "Arithmetic", "Weights from DRAM", "Activations"} <= set(metrics(app))
    assert any("at its full 12 W" in caption.value for caption in app.caption)
    app.selectbox(key="roofline-device").set_value("iPhone 12 (A14)").run()
    assert any("no power is published" in caption.value for caption in checked(app).caption)


def test_what_is_unpublished_is_said_and_nothing_is_drawn():
    app = panel()
    app.selectbox(key="roofline-device").set_value("Snapdragon 8 Elite Gen 5").run()
    checked(app)
    assert [info.value[:7] for info in app.info] == ["No peak", "No memo"]
    assert not app.get("plotly_chart")
    assert "Time under the roof" not in metrics(app)
    assert "Energy" in metrics(app)


def test_this_machine_is_a_device_once_it_was_measured():
    app = panel()
    assert own_devices.THIS_MACHINE not in app.selectbox(key="roofline-device").options
    machine = Machine("a processor", "2.14", 5e10, 2e10, 3e-6, 2**33)
    own_devices.machine_file().write_text(json.dumps(machine.to_dict()))
    app.run()
    app.selectbox(key="roofline-device").set_value(own_devices.THIS_MACHINE).run()
    assert "Roofline of This machine" in checked(app).get("plotly_chart")[0].proto.alt
    assert app.button(key="roofline-machine").label == "Measure this machine again"
    own_devices.machine_file().write_text("{")
    assert own_devices.this_machine() is None
