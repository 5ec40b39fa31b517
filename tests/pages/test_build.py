"""The Build page without a browser: composing, bad input, links, and what is shown while something is measured."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.evaluation import Evaluation
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache

APP = Path(__file__).parents[2] / "app.py"
TAYLOR, TOME = Step.of("head_mlp_taylor", ratio=0.3), Step.of("tome", r=4)


@pytest.fixture(autouse=True)
def _nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Weights are not here.")


def opened(recipe: Recipe | None = None, token: str | None = None) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    if recipe or token:
        app.query_params["r"] = token or recipe.to_token()
    app.run()
    assert not app.exception
    return app


def figures(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def sentences(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.markdown, *app.caption]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def test_the_first_page_stands_with_a_recipe_and_its_costs() -> None:
    app = opened()
    assert figures(app)["Parameters"] == "877 k"
    assert [metric.delta for metric in app.metric][:2] == ["−28 %", "−28 %"]
    assert app.slider[0].label == "Share removed"
    assert len(app.get("plotly_chart")) == 2
    assert not app.error
    assert not app.warning


def test_a_moved_slider_changes_the_costs_and_the_address() -> None:
    app = opened()
    before = figures(app)
    app.slider[0].set_value(0.6).run()
    after = figures(app)
    assert after["MACs"] != before["MACs"]
    assert Recipe.from_token(app.query_params["r"]).steps[0].knobs["ratio"] == 0.6


def test_a_link_opens_the_same_recipe_with_the_same_numbers() -> None:
    app = opened()
    app.slider[0].set_value(0.5).run()
    elsewhere = opened(token=app.query_params["r"])
    assert figures(elsewhere) == figures(app)
    assert elsewhere.slider[0].value == 0.5


def test_two_sessions_know_nothing_of_each_other() -> None:
    mine, yours = opened(), opened()
    before = figures(yours)
    mine.slider[0].set_value(0.8).run()
    yours.run()
    assert figures(yours) == before
    assert figures(mine) != before
    assert mine.session_state["session"] != yours.session_state["session"]


@pytest.mark.parametrize("token", ["nonsense!", "eJw", "A" * 5000, "..%2F..", "gASVCgAAAAAAAACMBnN5c3RlbZQu"])
def test_a_damaged_link_is_one_sentence_and_the_page_works(token: str) -> None:
    app = opened(token=token)
    assert len(app.warning) == 1
    assert "link" in app.warning[0].value
    assert figures(app)["Parameters"] == "877 k"
    app.run()
    assert len(app.warning) == 1  # what happens by itself takes no sentence away
    app.slider[0].set_value(0.5).run()
    assert not app.warning


def test_an_unknown_model_is_one_sentence_with_the_nearest_name() -> None:
    app = opened(Recipe("digits_vit_bose", (TAYLOR,)))
    assert "did you mean" in app.error[0].value
    assert "digits_vit_base" in app.error[0].value
    picker(app).set_value("digits_vit_small").run()
    assert not app.error
    assert "MACs" in figures(app)


def test_a_typed_model_nobody_knows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = cache.models()
    # AppTest cannot type a new option, so it is offered one
    monkeypatch.setattr(cache, "models", lambda: {**known, "vit_enormous": known["digits_swin"]})
    app = opened()
    before = figures(app)
    picker(app).set_value("vit_enormous").run()
    assert "vit_enormous" in app.warning[0].value
    assert figures(app) == before


def test_an_out_of_range_knob_says_what_is_allowed_in_the_steps_place() -> None:
    app = opened(Recipe("digits_vit_base", (Step.of("head_mlp_taylor", ratio=7.5),)))
    assert "outside 0 to 0.9" in sentences(app)
    assert app.slider[0].value == 0.9
    app.slider[0].set_value(0.5).run()
    assert "outside" not in sentences(app)
    assert figures(app)["Parameters"] != "1.21 M"


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (Step.of("no_such_method", r=1), "There is no technique"),
        (Step.of("tome", speed=3), "no knob"),
        (Step.of("tome", r="many"), "must be a number"),
        (Step.of("head_mlp_taylor", heads=1), "true or false"),
        (Step.of("head_mlp_taylor", ranking="by taste"), "not one of"),
    ],
)
def test_a_step_from_a_stranger_that_cannot_be_says_why_and_the_rest_works(step: Step, sentence: str) -> None:
    app = opened(Recipe("digits_vit_base", (step, TAYLOR)))
    assert sentence in sentences(app)
    assert figures(app)["Parameters"] == "877 k"


def test_a_step_that_makes_no_sense_says_why() -> None:
    app = opened(Recipe("digits_vit_base", (Step.of("uniform_ptq", w_bits=4), TAYLOR)))
    assert "before the quantisation" in sentences(app)


def test_steps_are_added_moved_switched_off_and_removed() -> None:
    app = opened(Recipe("digits_vit_base", (TAYLOR,)))
    adder(app).set_value("tome").run()
    steps = app.session_state["recipe"].steps
    assert [step.technique for step in steps] == ["head_mlp_taylor", "tome"]
    assert adder(app).value is None
    both = figures(app)

    number = app.session_state["numbers"][1]
    app.toggle(key=f"enabled-{number}").set_value(False).run()
    assert figures(app)["MACs"] != both["MACs"]
    app.toggle(key=f"enabled-{number}").set_value(True).run()
    assert figures(app) == both

    menu(app, number, "Move up")
    assert [step.technique for step in app.session_state["recipe"].steps] == ["tome", "head_mlp_taylor"]
    menu(app, number, "Remove")
    assert [step.technique for step in app.session_state["recipe"].steps] == ["head_mlp_taylor"]


def test_reset_puts_the_knobs_back() -> None:
    app = opened(Recipe("digits_vit_base", (Step.of("head_mlp_taylor", ratio=0.8),)))
    menu(app, app.session_state["numbers"][0], "Reset the knobs")
    assert app.session_state["recipe"].steps == (Step.of("head_mlp_taylor"),)
    assert app.slider[0].value == 0.3


def picker(app: AppTest):
    return next(box for box in app.selectbox if box.label == "Model")


def adder(app: AppTest):
    return next(box for box in app.selectbox if box.label == "Add a step")


def menu(app: AppTest, number: int, label: str) -> None:
    button = app.menu_button(key=f"menu-{number}")
    button.click(next(option for option in button.options if label in option)).run()
    assert not app.exception


def share(value: float) -> Quantity:
    return Quantity(value, "share", Evidence.MEASURED, "a test", value - 0.01, value + 0.01)


def evaluated(recipe: Recipe, n: int, *, latency: bool) -> Evaluation:
    seconds = Quantity(0.004, "s", Evidence.MEASURED, "a test", 0.003, 0.005)
    timed = {"latency_seconds": seconds} if latency else {}
    worse = Quantity(-0.05, "share", Evidence.MEASURED, "paired", -0.06, -0.04)
    ratio = Quantity(0.5, "ratio", Evidence.MEASURED, "paired", 0.4, 0.6) if latency else None
    params = Quantity.exact(812_000, "parameter", "a test")
    before, after = {"accuracy": share(0.97), **timed}, {"accuracy": share(0.92), "params": params, **timed}
    notes = ("The machine was busy.",) if latency else ()
    return Evaluation(recipe, "digits", "digest", n, before, after, worse, ratio, notes)


def in_engine(found: Evaluation) -> Evaluation:
    """The same as an engine gives it; it changes 6 % of the answers."""
    size = Quantity.exact(1_400_000, "byte", "a test")
    own = {
        "same_answers": share(0.94), "logits_error": share(0.08), "artefact_bytes": size,
        "build_seconds": Quantity.exact(4.0, "s", "a test"), "eager_accuracy": share(0.93),
    }  # fmt: skip
    compressed, baseline = {**found.compressed, **own}, {**found.baseline, "artefact_bytes": size}
    return replace(found, compressed=compressed, baseline=baseline, notes=("Everything ran in int8.",))


class Stopwatch:
    """Stands for the slow measurement: what was asked, and a gate that holds the answers back."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int | None]] = []
        self.engines: list[str] = []
        self.open = threading.Event()
        self.problem = ""

    def __call__(self, recipe, images, limit, *, latency, gaze, report, cancelled, origin, engine):
        self.engines.append(engine)
        self.asked.append((recipe.digest, limit))
        report(0.25, "125 of 500 images")
        while not self.open.wait(0.01):
            if cancelled():
                raise Cancelled
        if self.problem:
            raise VitEdgeError(self.problem)
        found = evaluated(recipe, limit or 2_000, latency=latency)
        return found if engine == "eager" else in_engine(found)


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch):
    st.cache_resource.clear()
    watch = Stopwatch()
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: None)
    monkeypatch.setattr("vitedge_core.experiments.runs.measured", watch)
    yield watch
    watch.open.set()


def until(app: AppTest, seen, seconds: float = 20.0) -> AppTest:
    deadline = time.monotonic() + seconds
    while not seen(app) and time.monotonic() < deadline:
        time.sleep(0.05)
        app.run()
    assert seen(app)
    return app


def accuracy(app: AppTest):
    return next(metric for metric in app.metric if metric.label == "Accuracy")


def test_accuracy_comes_by_itself_first_on_few_images_then_on_all(stopwatch: Stopwatch) -> None:
    app = opened()
    assert accuracy(app).delta == "measuring"
    until(app, lambda app: "125 of 500 images" in sentences(app))
    stopwatch.open.set()
    until(app, lambda app: "2,000 images" in sentences(app))
    assert accuracy(app).value == "92.0 %"
    assert accuracy(app).delta == "−5.0 points"
    assert figures(app)["Latency"] == "4.00 ms"
    assert "The machine was busy." in sentences(app)
    assert [limit for _, limit in stopwatch.asked] == [500, None]


def test_the_last_accuracy_stays_until_the_next_is_measured(stopwatch: Stopwatch) -> None:
    stopwatch.open.set()
    app = until(opened(), lambda app: "2,000 images" in sentences(app))
    stopwatch.open.clear()
    app.slider[0].set_value(0.6).run()
    assert accuracy(app).value == ":gray[92.0 %]"
    assert accuracy(app).delta == "of the recipe before"
    app.slider[0].set_value(0.3).run()  # back to what was measured
    assert accuracy(app).value == "92.0 %"


def test_a_moved_slider_gives_up_what_it_leaves(stopwatch: Stopwatch) -> None:
    app = opened()
    until(app, lambda app: len(stopwatch.asked) == 1)
    app.slider[0].set_value(0.6).run()
    until(app, lambda app: len(stopwatch.asked) == 2)  # the first was cancelled, or the second would wait for ever
    assert stopwatch.asked[1][0] == app.session_state["recipe"].digest


def test_cancel_stops_and_the_button_starts_again(stopwatch: Stopwatch) -> None:
    app = opened()
    until(app, lambda app: len(stopwatch.asked) == 1)
    app.button(key="cancel-measuring").click().run()
    assert accuracy(app).delta == "not measured"
    app.run()
    assert len(stopwatch.asked) == 1
    stopwatch.open.set()
    app.button(key="start-quick").click().run()
    until(app, lambda app: accuracy(app).value == "92.0 %")


def test_a_failed_measurement_is_a_sentence_and_can_be_tried_again(stopwatch: Stopwatch) -> None:
    stopwatch.problem = "The folder has gone."
    stopwatch.open.set()
    app = until(opened(), lambda app: "The folder has gone." in sentences(app))
    stopwatch.problem = ""
    app.button(key="start-quick").click().run()
    until(app, lambda app: accuracy(app).value == "92.0 %")


def test_a_recipe_that_trains_waits_for_its_button(stopwatch: Stopwatch) -> None:
    app = opened(Recipe("digits_vit_base", (Step.of("soft_logits", seconds=5),)))
    assert accuracy(app).delta == "not measured"
    assert app.button(key="start-quick")
    assert app.session_state["recipe"].digest not in dict(stopwatch.asked)


def test_an_estimate_says_so_until_it_is_measured(stopwatch: Stopwatch) -> None:
    app = opened(Recipe("digits_vit_base", (TAYLOR.with_knob("ranking", "global"),)))
    assert "estimates until" in sentences(app)
    assert figures(app)["Parameters"] != "812 k"
    stopwatch.open.set()
    until(app, lambda app: "2,000 images" in sentences(app))
    assert figures(app)["Parameters"] == "812 k"  # what the stopwatch's model has


def test_without_weights_the_costs_stand_and_one_sentence_says_how_to_get_them() -> None:
    app = opened(Recipe("vit_base_patch16_224", (TAYLOR,)))
    assert figures(app)["Parameters"] == "60.1 M"
    assert "Weights are not here." in sentences(app)
    assert "Accuracy" not in figures(app)


def test_every_preset_fits_its_model() -> None:
    app = opened()
    titles = [option.partition(":")[0].strip("*") for option in app.menu_button(key="preset").options]
    assert "Half the MACs" in titles
    assert "4-bit weights" in titles
    for title in titles:
        app.menu_button(key="preset").click(title).run()
        assert not app.exception
        assert not app.error
        assert ":material/block:" not in sentences(app)


def test_what_leaves_is_drawn_when_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "without_weights", lambda model: "No weights here.")
    app = opened(Recipe("digits_vit_base", (TOME,)))
    assert not app.code
    app.session_state["share-code"] = app.session_state["share-link"] = True
    app.run()
    shown = [block.value for block in app.code]
    assert any("Step.of('tome', r=4)" in block for block in shown)
    assert any("--step tome:r=4" in block for block in shown)
    assert any("?r=" in block for block in shown)


def runs_on(app: AppTest):
    return next(box for box in app.selectbox if box.label == "Runs on")


def test_a_recipe_can_run_in_another_engine(stopwatch: Stopwatch) -> None:
    stopwatch.open.set()
    app = until(opened(), lambda app: "2,000 images" in sentences(app))
    assert runs_on(app).value == "eager"
    assert "e" not in app.query_params
    assert "Same answers" not in figures(app)
    runs_on(app).set_value("openvino-int8").run()
    assert app.query_params["e"] == "openvino-int8"
    until(app, lambda app: "Everything ran in int8." in sentences(app) and "2,000" in sentences(app))
    assert stopwatch.engines == ["eager", "eager", "openvino-int8", "openvino-int8"]
    shown = figures(app)
    assert (shown["Same answers"], shown["Logits off by"], shown["File"]) == ("94.0 %", "8.0 %", "1.40 MB")
    assert "it changes more than the accuracy is known to" in sentences(app)
    assert "Last step, by the engine" in sentences(app)
    runs_on(app).set_value("eager").run()
    assert "Same answers" not in figures(app)
    assert "e" not in app.query_params


def test_the_address_carries_the_engine(stopwatch: Stopwatch) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["e"] = "onnxruntime"
    app.run()
    until(app, lambda app: stopwatch.engines == ["onnxruntime"])
    assert runs_on(app).value == "onnxruntime"


def test_an_engine_nobody_knows_is_one_sentence(stopwatch: Stopwatch) -> None:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["e"] = "warp-drive"
    app.run()
    assert not app.exception
    assert "There is no engine" in sentences(app)
    assert runs_on(app).value == "eager"


def test_an_engine_that_cannot_have_the_recipe_says_why_and_no_speed_is_claimed(stopwatch: Stopwatch) -> None:
    stopwatch.open.set()
    app = opened(Recipe("digits_vit_base", (Step.of("uniform_ptq", w_bits=3, a_bits=8),)))
    label = next(option for option in runs_on(app).options if option.startswith("OpenVINO, int8"))
    assert label.endswith("(not for this recipe)")
    assert "no speed is claimed" in runs_on(app).help
    runs_on(app).set_value("openvino-int8").run()
    assert "no speed is claimed" in sentences(app)
    assert "Measured in PyTorch, eager instead." in sentences(app)
    until(app, lambda app: "2,000 images" in sentences(app))
    assert set(stopwatch.engines) == {"eager"}


def test_an_engine_that_is_not_installed_names_its_line(stopwatch: Stopwatch, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitedge_core.backends import base

    monkeypatch.setattr(base, "find_spec", lambda name: None)
    app = opened()
    assert "pip install onnx" in runs_on(app).help
    assert any(option.endswith("(not installed)") for option in runs_on(app).options)


def test_an_engine_that_compiles_waits_for_a_word(stopwatch: Stopwatch) -> None:
    stopwatch.open.set()
    app = opened()
    runs_on(app).set_value("compiled").run()
    assert "measured on your word" in sentences(app)
    app.button(key="start-quick").click().run()
    until(app, lambda app: stopwatch.engines[-1:] == ["compiled"])
