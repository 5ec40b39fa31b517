"""Why is it not smaller or faster, on the Build page: only where it holds, with its counter-proof."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.test_runs import a_run
from vitedge_core.errors import Cancelled
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import counter_proof
from vitedge_core.experiments.counter_proof import Proof
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, measuring
from vitedge_core.ui.measuring import Reading
from vitedge_core.ui.worker import Worker

APP = Path(__file__).parents[2] / "app.py"
ZEROS, CUT = Step.of("magnitude", ratio=0.75), Step.of("head_mlp_magnitude", ratio=0.5)


@pytest.fixture(autouse=True)
def _nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setenv("VITEDGE_DATA", str(tmp_path))
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Weights are not here.")
    worker = Worker(delay=0.0)  # what other tests left to be measured does not stand before us
    monkeypatch.setattr(cache, "worker", lambda: worker)


def opened(*steps: Step, open_: bool = True) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    app.query_params["r"] = Recipe("digits_vit_base", steps).to_token()
    if open_:
        app.session_state["reasons"] = True
    app.run()
    assert not app.exception
    assert not app.error
    return app


def questions(app: AppTest) -> list[str]:
    return [expander.label for expander in app.expander if expander.label.startswith("Why is it not")]


def told(app: AppTest) -> str:
    return " ".join(str(element.value) for kind in ("markdown", "caption") for element in app.get(kind))


def timed(ratio: float) -> Quantity:
    return Quantity(ratio, "ratio", Evidence.MEASURED, "a stopwatch", ratio * 0.98, ratio * 1.02)


def measured(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    run = a_run(0.5)
    best = replace(run.evaluation, ratio=timed(ratio))
    monkeypatch.setattr(measuring, "read", lambda *_: Reading(best, None, None))


def test_zeros_raise_the_question_and_structured_pruning_does_not():
    assert questions(opened(ZEROS)) == ["Why is it not smaller or faster? 1 reason"]
    assert questions(opened(CUT)) == []
    assert questions(opened()) == []


def test_a_measured_time_that_follows_silences_it(monkeypatch):
    measured(monkeypatch, 0.5)
    assert questions(opened(CUT)) == []
    measured(monkeypatch, 0.97)
    assert questions(opened(Step.of("head_mlp_magnitude", ratio=0.65, heads=False)))


def test_a_reason_has_its_sentence_its_numbers_and_their_evidence():
    text = told(opened(ZEROS))
    assert "Zeros in dense kernels." in text
    assert "an ordinary file stores a zero as it stores any number" in text
    assert "weights that are zero" in text
    assert "measured" in text


def test_the_counter_proof_is_measured_beside_it_and_can_be_cancelled(monkeypatch):
    monkeypatch.setattr(cache, "without_weights", lambda model: None)
    asked = []

    def prove(recipe, found, *, report, cancelled):
        asked.append(found.recipe)
        while len(asked) == 1:
            if cancelled():
                raise Cancelled
            report(0.5, "Timing")
            time.sleep(0.01)
        times = [Quantity(value, "s", Evidence.MEASURED, "a stopwatch", value, value) for value in (4e-3, 4e-3, 1e-3)]
        return Proof(*times, timed(1.0), timed(0.25), None)

    monkeypatch.setattr(counter_proof, "prove", prove)
    app = opened(ZEROS)
    app.button(key="proof ZEROS-start").click().run()
    for _ in range(200):
        app.run()
        if any(button.key == "proof ZEROS-cancel" for button in app.button) and asked:
            break
        time.sleep(0.05)
    app.button(key="proof ZEROS-cancel").click().run()
    time.sleep(0.2)
    app.run()
    assert not app.dataframe
    app.button(key="proof ZEROS-start").click().run()
    for _ in range(200):
        if app.dataframe:
            break
        time.sleep(0.05)
        app.run()
    assert asked[-1].active == (Step.of("head_mlp_magnitude", ratio=0.75),)
    table = app.dataframe[0].value
    assert table["time of one image"].tolist() == ["4.00 ms", "4.00 ms", "1.00 ms"]
    assert table["of the baseline's"].tolist() == ["", "1.00×", "0.250×"]


def test_without_weights_a_sentence_stands_where_the_button_was(monkeypatch):
    monkeypatch.setattr(cache, "without_weights", lambda model: "It has no weights here.")
    app = opened(Step.of("magnitude", ratio=0.6))
    assert not any(button.key == "proof ZEROS-start" for button in app.button)
    assert "It has no weights here." in told(app)
