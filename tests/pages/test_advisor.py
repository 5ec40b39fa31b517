"""The Advisor page: limits in, ranked recipes out, and what it says when nothing was measured or nothing fits."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.test_advisor import PI, RUNS
from vitedge_core.cost.edge_latency import EdgeLatencies
from vitedge_core.experiments import runs
from vitedge_core.ui import cache, measuring, sweep_form

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def few() -> EdgeLatencies:
    found = EdgeLatencies()
    found.examples = tuple(row for row in found.examples if row.target.device in {PI, "Raspberry Pi 4B"})
    return found


@pytest.fixture(autouse=True)
def quick(few, tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(cache, "edge_latencies", lambda: few)
    monkeypatch.setattr(measuring, "automatic", lambda *_: ())


def page() -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    app.switch_page("pages/advisor.py").run()
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def texts(app: AppTest) -> str:
    return " ".join(str(e.value) for kind in ("markdown", "caption", "warning", "info") for e in app.get(kind))


def kept():
    for run in RUNS:
        runs.record(run)


def test_before_anything_was_measured_it_offers_what_could_be():
    app = page()
    assert "Nothing was measured for these models yet" in texts(app)
    assert any(button.label == "Open in Build" for button in app.button)


def test_what_fits_a_raspberry_pi_best_first():
    kept()
    app = page()
    assert "3 of 4 measured recipes fit" not in texts(app)
    assert "2 of 4 measured recipes fit" in texts(app)  # the model itself and 8 bits; 4 bits has no time there
    (table,) = (frame.value for frame in app.dataframe)
    assert list(table["Fits"]) == [True, True, False, False]
    assert table["Time, ms"].notna().sum() == 3
    assert app.selectbox(key="advisor-device").value == PI


def test_when_nothing_fits_it_says_what_gives():
    kept()
    app = page()
    app.number_input(key="advisor-file").set_value(0.0).run()
    app.number_input(key="advisor-ms").set_value(0.01).run()
    assert "None of 4 measured recipes fits" in texts(app)
    assert "- **time**:" in texts(app)
    assert "instead of 10.0 µs would do" in texts(app)


def test_a_recipe_opens_in_build():
    kept()
    app = page()
    app.button(key="fits-1-open").click().run()
    assert app.session_state["recipe"] == RUNS[0].recipe


def test_a_sweep_near_the_budget_is_started(monkeypatch):
    started = []
    monkeypatch.setattr(sweep_form, "start", lambda space, workers: started.append(space))
    monkeypatch.setattr(cache, "without_weights", lambda model: None)
    kept()
    app = page()
    app.button(key="advisor-sweep").click().run()
    assert [space.recipe for space in started] == [RUNS[0].recipe]
