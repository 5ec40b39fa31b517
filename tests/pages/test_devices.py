"""The Edge devices page: rows that follow the recipe and the budget, what is out of domain, and boards of one's own.

The latency model is the real one, fitted to the rows of a few devices, so that the page is quick to test.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.test_own_devices import board
from vitedge_core.cost import own_devices
from vitedge_core.cost.edge_latency import EdgeLatencies
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, measuring

ROOT = Path(__file__).parents[2]
DEVICES = {"Raspberry Pi 5", "Raspberry Pi 4B", "Hailo-8 (PCIe host)", "Dragonwing RB3 Gen 2 Vision Kit", "iPhone 12"}
MODEL = "digits_vit_base"


@pytest.fixture(scope="module")
def few() -> EdgeLatencies:
    """The latency model of a few devices."""
    latencies = EdgeLatencies()
    latencies.examples = tuple(row for row in latencies.examples if row.target.device in DEVICES)
    return latencies


@pytest.fixture(autouse=True)
def quick(few, tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    monkeypatch.setattr(cache, "edge_latencies", lambda: few)
    monkeypatch.setattr(measuring, "automatic", lambda *_: ())  # Build, the first page, would begin to measure
    cache._edge_rows.clear()


def page(*steps: Step, model: str = MODEL) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["r"] = Recipe(model, steps).to_token()
    app.run()
    app.switch_page("pages/devices.py").run()
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def rows(app: AppTest):
    (table,) = (frame.value for frame in app.dataframe if "bound by" in frame.value.columns)
    return table


def texts(app: AppTest) -> str:
    return " ".join(str(e.value) for kind in ("markdown", "caption", "warning", "info") for e in app.get(kind))


def test_every_device_has_a_row_with_its_interval_and_the_baseline():
    table = rows(page(Step.of("head_mlp_magnitude", ratio=0.5)))
    assert set(table["device"]) == DEVICES
    assert (table["80 % from"] <= table["ms"]).all()
    assert (table["ms"] <= table["80 % to"]).all()
    assert (table["ms"] <= table["baseline ms"]).all()
    assert table["ms"].is_monotonic_increasing
    assert table["images/s"].tolist() == pytest.approx((1e3 / table["ms"]).tolist())
    assert table["nearest measurement"].str.contains(":").all()
    assert table["residual"].str.endswith("%").all()


def test_the_budget_says_what_fits_and_maybe_where_it_lies_inside_the_interval():
    app = page()
    table = rows(app)
    assert set(table["fits"]) == {"✓ fits"}
    middle = float(table["ms"].median())
    app.number_input(key="edge-ms").set_value(middle).run()
    table = rows(app)
    for _, row in table.iterrows():
        told = "✓ fits" if row["80 % to"] <= middle else "✗ no" if row["80 % from"] > middle else "≈ maybe"
        assert row["time"] == told
    assert {"✓ fits", "≈ maybe", "✗ no"} == set(table["fits"])
    assert f"**{(table['fits'] == '✓ fits').sum()} fit**" in texts(app)
    app.number_input(key="edge-mb").set_value(0.001).run()
    assert set(rows(app)["fits"]) == {"✗ no"}
    assert set(rows(app)["memory"]) == {"✗ no"}


def test_the_budget_is_a_line_in_the_chart():
    app = page()
    app.number_input(key="edge-ms").set_value(20.0).run()
    layout = json.loads(app.get("plotly_chart")[0].proto.spec)["layout"]
    assert [shape["x0"] for shape in layout["shapes"]] == [0.02]
    assert [10 ** note["x"] for note in layout["annotations"]] == pytest.approx([0.02])  # the axis is logarithmic


def test_energy_has_a_budget_too():
    app = page()
    app.number_input(key="edge-mj").set_value(float(rows(app)["mJ"].max()) * 1e3).run()
    assert set(rows(app)["energy"]) == {"✓ fits"}
    app.number_input(key="edge-mj").set_value(1e-6).run()
    assert set(rows(app)["energy"]) == {"✗ no"}


def test_what_cannot_be_predicted_says_why():
    table = rows(page(Step.of("uniform_ptq", w_bits=2, a_bits=2)))
    assert table["ms"].isna().all()
    assert set(table["fits"]) == {"✗ out of domain"}
    assert table["why or remark"].str.contains("2 bits").all()
    table = rows(page(Step.of("tome", r=4)))
    outside = table[table["ms"].isna()]
    assert len(outside)
    assert outside["why or remark"].str.contains("merges tokens").all()


def test_what_must_be_known_of_the_recipe_stands_once_above_the_rows():
    app = page(Step.of("magnitude", ratio=0.5))
    said = [caption.value for caption in app.caption if "Zeros change nothing" in caption.value]
    assert len(said) == 1
    assert "Zeros change nothing" not in texts(page())


def test_filters_and_an_empty_choice():
    app = page()
    app.multiselect(key="edge-devices").set_value(["Raspberry Pi 5", "iPhone 12"]).run()
    assert set(rows(app)["device"]) == {"Raspberry Pi 5", "iPhone 12"}
    app.button_group(key="edge-kinds").set_value(["cpu"]).run()
    assert set(rows(app)["device"]) == {"Raspberry Pi 5"}
    app.button_group(key="edge-kinds").set_value(["gpu"]).run()
    assert not app.exception
    assert "No device is left" in texts(app)


def test_published_counter_examples_stand_where_they_matter():
    app = page()
    app.multiselect(key="edge-devices").set_value(["Dragonwing RB3 Gen 2 Vision Kit"]).run()
    assert any("Fallen back to the CPU" in warning.value for warning in app.warning)
    app.multiselect(key="edge-devices").set_value(["iPhone 12"]).run()
    assert not app.warning


def test_predicted_against_published_for_a_device():
    app = page()
    app.selectbox(key="edge-agreement").set_value("Raspberry Pi 5").run()
    assert "published latencies on Raspberry Pi 5: median error" in texts(app)
    charts = app.get("plotly_chart")
    assert len(charts) == 2
    assert all(chart.proto.alt for chart in charts)


def test_an_imported_board_has_a_row_until_it_is_removed():
    own_devices.keep(board().to_json())
    app = page(Step.of("head_mlp_magnitude", ratio=0.5))
    table = rows(app)
    (mine,) = table[table["device"] == "A board"].to_dict("records")
    assert mine["runtime"] == "PyTorch, calibrated"
    assert 0 < mine["80 % from"] <= mine["ms"] <= mine["80 % to"]
    assert "Each network predicted from the others" in texts(app)
    app.button(key="board-A board").click().run()
    assert "A board" not in set(rows(app)["device"])
    assert own_devices.calibrations() == ()


@pytest.mark.parametrize(("content", "says"), [
    (board().to_json().encode(), "A board was imported"),
    (b"{}", "no device file"),
    (board().to_json().replace('"threads": 1', '"threads": -1').encode(), '"threads"'),
    ("{\u20ac".encode("utf-16"), "not JSON"),
])  # fmt: skip
def test_an_upload_is_imported_or_refused_in_a_sentence(content, says):
    app = page()
    app.file_uploader[0].set_value(("mine.json", content, "application/json")).run()
    assert not app.exception
    assert says in texts(app)
    assert len(rows(app)) >= 10
