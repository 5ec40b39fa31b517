"""The Benchmark page without a browser: choose, time in the background, cancel, and what engines do wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fake_engines import MadeUp
from streamlit.testing.v1 import AppTest

from vitedge_core import backends
from vitedge_core.backends import BASELINE
from vitedge_core.datasets import wild_digits
from vitedge_core.experiments import bench_store, engines
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import benchmark, cache

APP = Path(__file__).parents[2] / "app.py"
HALF = Step.of("head_mlp_magnitude", ratio=0.5, compensate=False)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """Few images, a store of its own, and nothing that Build measures; it comes first."""
    made = {split: wild_digits.compose(split, 0, count=24) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    monkeypatch.setattr("vitedge_core.ui.measuring.automatic", lambda recipe, macs: ())
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(benchmark, "SECONDS", 0.0)
    engines._memory.clear()
    cache.worker.clear()


def offer(monkeypatch, *others: MadeUp) -> None:
    every = (BASELINE, *others)
    monkeypatch.setattr(backends, "ENGINES", every)
    monkeypatch.setattr(benchmark, "ENGINES", every)
    monkeypatch.setattr(benchmark, "USUAL", tuple(one.key for one in every))
    monkeypatch.setattr(benchmark, "_TITLES", {one.key: one.title for one in every})


def opened(*steps: Step) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["r"] = Recipe("digits_vit_small", steps).to_token()
    app.run()
    return checked(app.switch_page("pages/benchmark.py").run())


def checked(app: AppTest) -> AppTest:
    assert not app.exception
    assert [error.value for error in app.error] == []
    return app


def finished(app: AppTest) -> AppTest:
    """Run until the background work has ended."""
    end = time.monotonic() + 120
    while any(button.key.endswith("-cancel") for button in app.button):
        assert time.monotonic() < end
        time.sleep(0.2)
        app.run()
    return checked(app)


def words(app: AppTest) -> str:
    return "\n".join(str(element.value) for element in (*app.warning, *app.markdown, *app.caption))


def spec(app: AppTest, place: int = 0) -> dict:
    return json.loads(app.get("plotly_chart")[place].proto.spec)


def bars(app: AppTest) -> dict[str, float]:
    return {
        label: value
        for trace in spec(app)["data"]
        for label, value in zip(trace["y"], trace["x"], strict=True)
    }  # fmt: skip


def test_it_times_what_was_chosen_and_shows_speed_agreement_and_the_machine(monkeypatch):
    offer(monkeypatch, MadeUp(), MadeUp(key="off", title="Off", raised=1e3))
    app = opened(HALF)
    assert app.multiselect(key="bench-engines").value == ["eager", "made-up", "off"]
    assert app.multiselect(key=app.multiselect[1].key).value == ["The current recipe", "Uncompressed"]
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert len(bars(app)) == 6
    assert {trace["name"] for trace in spec(app)["data"]} >= {"changes answers"}
    assert spec(app)["layout"]["shapes"][0]["x0"] == 1, "the line of the baseline"
    flagged = next(trace for trace in spec(app, 1)["data"] if trace["name"] == "changes answers")
    assert all(label.startswith("Off") for label in flagged["y"])
    assert "Off changes more answers than the accuracy is known to" in words(app)
    assert "torch " in words(app)
    again = opened(HALF)
    assert bars(again) == bars(app), "what was measured is there at once on the next visit"
    assert again.button(key="bench-again")


def test_an_engine_that_fails_says_so_and_the_others_are_drawn(monkeypatch):
    offer(monkeypatch, MadeUp(fault="fails"), MadeUp(key="absent", title="Absent", fault="missing"))
    app = opened()
    assert app.multiselect(key="bench-engines").options == ["PyTorch, eager", "Made up"]
    assert "pip install made-up" in words(app)
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert [warning.value for warning in app.warning] == [
        "**Made up**: Made up failed to build this recipe (no kernel for this); choose another engine."
    ]
    assert list(bars(app)) == ["PyTorch, eager"]
    assert "the baseline" in str(spec(app)["data"])


def test_several_passes_are_told_apart_and_nothing_chosen_is_said(monkeypatch):
    offer(monkeypatch)
    app = opened()
    app.pills(key="bench-batches").set_value([1, 8]).run()
    app.button(key="benchmark-start").click().run()
    app = finished(app)
    assert [label.split("<br>")[1] for label in bars(app)] == ["8 images, 1 thread", "one image, 1 thread"]
    app.multiselect(key="bench-engines").set_value([]).run()
    assert "Choose at least one engine" in words(checked(app))


def test_a_timing_can_be_cancelled_and_keeps_nothing(monkeypatch):
    offer(monkeypatch)
    monkeypatch.setattr(benchmark, "SECONDS", 600.0)
    app = opened()
    app.button(key="benchmark-start").click().run()
    app.button(key="benchmark-cancel").click().run()
    end = time.monotonic() + 60
    while any(task.active for task in cache.worker()._tasks.values()):
        assert time.monotonic() < end, "the work did not stop"
        time.sleep(0.1)
    assert app.button(key="benchmark-start")
    assert bench_store.rows() == []


def test_the_time_by_kind_stands_beside_the_roofline(monkeypatch):
    offer(monkeypatch)
    app = opened()
    app.button(key="kinds-start").click().run()
    app = finished(app)
    drawn = spec(app)["data"]
    assert [trace["name"] for trace in drawn] == ["at best, by the roofline", "measured, eager PyTorch"]
    roof, measured = (dict(zip(trace["y"], trace["x"], strict=True)) for trace in drawn)
    assert {"MLP", "attention products", "query, key, value"} <= set(measured)
    assert measured["MLP"] > roof["MLP"] > 0
    assert "Most time goes to" in words(app)
