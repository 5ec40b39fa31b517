"""The What broke page: a verdict, every part with its table, the sensitivity map and its way into the recipe."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import homegrown
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.experiments import evaluate, looking, sensitivity, what_broke
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, measuring

APP = Path(__file__).parents[2] / "app.py"
HURTS = (Step.of("layer_drop", blocks="1"), Step.of("uniform_ptq", w_bits=3, a_bits=4))
CHARTS = ("broke-layers", "broke-looks", "broke-curves", "broke-flips", "broke-calibration", "broke-classes")


@pytest.fixture(scope="module")
def model() -> str:
    return homegrown.keep("broken")


@pytest.fixture(scope="module")
def results(model):
    """Measured once, on a few images."""
    made = {split: wild_digits.compose(split, 0, count=32) for split in wild_digits.SPLITS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
        evaluate._outcomes.clear()
        looking._known.clear()
        yield (
            what_broke.what_broke(Recipe(model, HURTS), limit=32, curve_images=4),
            sensitivity.sensitivity(model, limit=16),
        )
        evaluate._outcomes.clear()
        looking._known.clear()


class Bench:
    """Stands for the slow measurements: hands out what was measured, or what it is told to do."""

    def __init__(self, broke, trials) -> None:
        self.broke, self.trials = broke, trials
        self.open = threading.Event()
        self.open.set()
        self.problem = ""

    def _wait(self, report, cancelled) -> None:
        report(0.25, "a quarter of the way")
        while not self.open.wait(0.01):
            if cancelled():
                raise Cancelled
        if self.problem:
            raise VitEdgeError(self.problem)

    def what_broke(self, recipe, images, limit, *, report, cancelled):
        self._wait(report, cancelled)
        return replace(self.broke, recipe=recipe)

    def sensitivity(self, model, images, *, report, cancelled):
        self._wait(report, cancelled)
        return self.trials


@pytest.fixture
def bench(results, monkeypatch):
    st.cache_resource.clear()
    standing = Bench(*results)
    monkeypatch.setattr(what_broke, "what_broke", standing.what_broke)
    monkeypatch.setattr(sensitivity, "sensitivity", standing.sensitivity)
    monkeypatch.setattr(measuring, "start", lambda *given: None)  # Build, the first page, would begin to measure
    yield standing
    standing.open.set()


def opened(recipe: Recipe) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["r"] = recipe.to_token()
    app.run()
    app.switch_page("pages/broke.py").run()
    assert not app.exception
    return app


def until(app: AppTest, seen, tries: int = 300) -> AppTest:
    for _ in range(tries):
        if seen(app):
            return app
        app.run()
        assert not app.exception
    raise AssertionError("it never came")


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


def words(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.success, *app.info, *app.markdown, *app.caption, *app.subheader]
    return "\n".join(str(element.value) for element in shown)


def keys(app: AppTest) -> set[str]:
    return {button.key or "" for button in app.button}


def test_the_page_gives_a_verdict_and_every_part_with_its_table(bench, model):
    app = until(opened(Recipe(model, HURTS)), charts)
    assert charts(app) == len(CHARTS)
    assert [expander.label for expander in app.expander].count("The same as a table") == charts(app)
    verdict = [*app.error, *app.warning, *app.success][0].value
    assert "falls apart" in verdict or "fall off" in verdict
    assert "answers" in verdict
    assert {metric.label for metric in app.metric} == {
        "Points at the object", "Attention on the object", "Deletion", "Insertion",
    }  # fmt: skip
    assert "Calibration error" in words(app)
    assert "sensitivity-start" in keys(app)


def test_what_cannot_be_known_is_a_sentence_and_the_rest_is_there(bench, model):
    bench.broke = replace(bench.broke, gaze=None, why_no_gaze="These images have no masks.", notes=("Half of them.",))
    app = until(opened(Recipe(model, HURTS)), charts)
    assert "These images have no masks." in words(app)
    assert "Half of them." in words(app)
    assert charts(app) == len(CHARTS) - 2


def test_progress_is_shown_and_it_can_be_stopped_and_started_again(bench, model):
    bench.open.clear()
    app = until(
        opened(Recipe(model, HURTS)), lambda app: any("quarter" in bar.proto.text for bar in app.get("progress"))
    )
    app.button(key="broke-cancel").click().run()
    app = until(app, lambda app: "broke-start" in keys(app))
    assert charts(app) == 0
    bench.open.set()
    app.button(key="broke-start").click().run()
    assert charts(until(app, charts)) == len(CHARTS)


def test_a_failure_is_a_sentence_and_another_try(bench, model):
    bench.problem = "The images are gone."
    app = until(opened(Recipe(model, HURTS)), lambda app: app.error)
    assert app.error[0].value == "The images are gone."
    bench.problem = ""
    app.button(key="broke-start").click().run()
    assert charts(until(app, charts)) == len(CHARTS)


def test_without_weights_or_steps_there_is_a_sentence(bench, model, monkeypatch):
    app = opened(Recipe(model))
    assert "nothing broke" in words(app)
    assert "sensitivity-start" in keys(app), "the map needs no recipe"
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "It has no weights here.")
    app = opened(Recipe("resnet18"))
    assert "It has no weights here." in words(app)
    assert charts(app) == 0


def mapped(recipe: Recipe) -> AppTest:
    app = opened(recipe)
    app.button(key="sensitivity-start").click().run()
    return until(app, lambda app: "sensitivity-add" in keys(app))


def test_the_map_starts_on_a_click_and_a_cell_becomes_a_step(bench, model):
    app = mapped(Recipe(model))
    assert charts(app) == 1
    trial = app.selectbox(key="sensitivity-pick")
    trial.select("Block 3, 4 bits").run()
    assert app.button(key="sensitivity-add").label == "Keep block 3 at 8 bits"
    app.button(key="sensitivity-add").click().run()
    assert app.session_state["recipe"].steps == (
        Step.of("uniform_ptq", w_bits=4, a_bits=4, keep="2", keep_bits=8),
    )  # fmt: skip


def test_a_quantisation_that_is_there_spares_one_block_more(bench, model):
    app = mapped(Recipe(model, (Step.of("uniform_ptq", w_bits=3, keep="1"),)))
    app.selectbox(key="sensitivity-pick").select("Block 1, 2 bits").run()
    app.button(key="sensitivity-add").click().run()
    (step,) = app.session_state["recipe"].steps
    assert step.knobs == {"w_bits": 3, "keep": "0,1", "keep_bits": 8}


def test_a_head_has_no_step_of_its_own_and_every_figure_can_be_shown(bench, model):
    app = mapped(Recipe(model))
    app.selectbox(key="sensitivity-pick").select("Block 2, head 1").run()
    assert "sensitivity-add" not in keys(app)
    assert "ranking of the pruning methods" in words(app)
    for figure in ("drop", "divergence", "loss"):
        app.segmented_control(key="sensitivity-figure").set_value(figure).run()
        assert not app.exception
        assert charts(app) == 1
