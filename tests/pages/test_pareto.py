"""The Pareto page: what it shows of the store, and how it starts, stops and resumes a sweep."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.test_points import with_cost
from tests.unit.test_runs import a_run
from vitedge_core.evidence import Quantity
from vitedge_core.experiments import importance, jobs, runs
from vitedge_core.experiments.axes import Blocks
from vitedge_core.experiments.space import Space
from vitedge_core.experiments.sweep import KIND
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, measuring
from vitedge_core.ui.worker import Worker

ROOT = Path(__file__).parents[2]
ORT = "ONNX Runtime"


@pytest.fixture(autouse=True)
def launched(tmp_path, monkeypatch):
    """A store of its own, weights for every model, and what would have been started as a process."""
    started = []
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(cache, "without_weights", lambda model: None)
    monkeypatch.setattr(measuring, "automatic", lambda *_: ())  # Build, the first page, would begin to measure
    monkeypatch.setattr(jobs, "_launch", lambda command, log: started.append(command) or 0)
    return started


def page(recipe=None):
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    if recipe is not None:
        app.query_params["r"] = recipe.to_token()
    app.run()
    return app.switch_page("pages/pareto.py").run()


def texts(app):
    return " ".join(
        str(element.value) for kind in ("markdown", "caption", "error", "warning") for element in app.get(kind)
    )


def keep(*figures):
    for ratio, accuracy, macs in figures:
        runs.record(with_cost(a_run(ratio, accuracy=accuracy), macs))


def test_before_anything_was_measured():
    app = page()
    assert not app.exception
    assert [error.value for error in app.error] == []
    assert "Nothing has been measured yet" in texts(app)
    assert app.button(key="sweep-start").label.startswith("Measure ")


def test_runs_become_a_chart_with_its_table():
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5), (0.3, 0.5, 2e5), (0.4, 0.4, 4e5))
    app = page()
    assert not app.exception
    chart = json.loads(app.get("plotly_chart")[0].proto.spec)
    line = next(trace for trace in chart["data"] if trace["name"] == "Pareto front")
    assert line["line"]["shape"] == "hv"
    assert len(line["x"]) == 4  # three recipes and the baseline; the last one is dominated
    assert "Knee" in [trace["name"] for trace in chart["data"]]
    lines = app.selectbox(key="front-macs-accuracy").options
    assert len(lines) == 4
    assert lines[0].startswith("Knee: 93.0 %")


def test_a_recipe_of_the_front_opens_in_build():
    keep((0.2, 0.93, 3e5), (0.3, 0.5, 2e5))
    app = page()
    app.selectbox(key="front-macs-accuracy").select_index(1)
    app.button(key="front-open").click().run()
    assert app.session_state["recipe"].model == "tiny"


def test_cost_and_filters():
    keep((0.2, 0.93, 3e5))
    other = a_run(0.3, digest="d2")
    runs.record(replace(other, title="Others", evaluation=replace(other.evaluation, recipe=Recipe("second"))))
    app = page()
    assert len(app.selectbox(key="pareto-images").options) == 2
    app.selectbox(key="pareto-cost").set_value("latency_seconds").run()
    assert "No recipe here was timed" in texts(app)
    assert not app.exception


def spec(app, place=0):
    return json.loads(app.get("plotly_chart")[place].proto.spec)


def test_the_front_is_told_in_words_too():
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5), (0.3, 0.5, 2e5), (0.4, 0.4, 4e5))
    app = page()
    assert "The knee, where the front bends most: **93.0 % at 300 kMAC" in texts(app)
    # below 1 MMAC, from 0: 1 - (2e5 + 0.5 * 1e5 + 0.07 * 3e5 + 0.06 * 4e5) / 1e6
    assert "The front dominates **70.5 %** of the chart" in texts(app)


def test_a_recipe_of_the_front_is_seen_in_attention():
    keep((0.2, 0.93, 3e5), (0.3, 0.5, 2e5))
    app = page()
    app.button(key="front-attention").click().run()
    assert app.session_state["recipe"].model == "tiny"
    assert app.session_state["recipe"].steps


def test_three_objectives_on_paper_and_in_space():
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5), (0.3, 0.5, 2e5))
    figures = {"params": Quantity.exact(5, "parameter", "plan")}
    for ratio, params in ((0.5, 9e5), (0.6, 4e5)):
        run = with_cost(a_run(ratio, accuracy=0.9), 7e5)
        after = {
            **run.evaluation.compressed,
            "params": replace(figures["params"], value=params, low=params, high=params),
        }
        before = {**run.evaluation.baseline, "params": Quantity.exact(1e6, "parameter", "plan")}
        runs.record(replace(run, evaluation=replace(run.evaluation, compressed=after, baseline=before)))
    app = page()
    assert "In space" not in app.button_group(key="pareto-view").options
    app.selectbox(key="pareto-third").set_value("params").run()
    assert not app.exception
    assert "Pareto front" not in [trace["name"] for trace in spec(app)["data"]]
    assert "The larger a mark, the more Parameters." in texts(app)
    app.button_group(key="pareto-view").set_value("In space").run()
    assert spec(app)["data"][0]["type"] == "scatter3d"
    app.selectbox(key="pareto-third").set_value(None).run()
    assert not app.exception
    assert app.button_group(key="pareto-view").value == "Chart"
    app.selectbox(key="pareto-cost").set_value("accuracy").run()
    assert "Choose different objectives." in texts(app)


def test_a_budget_draws_a_line_and_names_the_best_within_it():
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5), (0.3, 0.5, 2e5))
    app = page()
    app.number_input(key="budget-macs").set_value(0.4).run()
    assert "2 of 4 recipes are within the budget. The best of them: **Accuracy 93.0 %, MACs 300 kMAC**" in " ".join(
        success.value for success in app.success
    )
    chart = spec(app)
    assert [shape["x0"] for shape in chart["layout"]["shapes"]] == [4e5]
    opacity = {x: trace["marker"]["opacity"] for trace in chart["data"] if "customdata" in trace for x in trace["x"]}
    assert opacity[6e5] < opacity[3e5]
    app.number_input(key="budget-accuracy").set_value(99.0).run()
    assert "None of these 4 recipes is within the budget" in texts(app)


def test_runs_of_several_origins_are_told_apart_and_chosen():
    for ratio, origin in ((0.1, "Build"), (0.2, "Build"), (0.3, "command line")):
        runs.record(with_cost(a_run(ratio, accuracy=0.9, origin=origin), ratio * 1e6))
    app = page()
    app.button_group(key="pareto-colours").set_value("sweep or origin").run()
    assert {"Build", "command line"} <= {trace["name"].split(",")[0] for trace in spec(app)["data"]}
    app.multiselect(key="pareto-from").set_value(["command line"]).run()
    assert not app.exception
    assert [line for line in app.selectbox(key="front-macs-accuracy").options if "100 kMAC" in line] == []


def test_a_filter_that_nothing_passes_says_so():
    runs.record(with_cost(a_run(0.1, accuracy=0.9, origin="Build"), 1e5))
    other = with_cost(a_run(0.2, accuracy=0.9, origin="command line"), 2e5)
    runs.record(replace(other, evaluation=replace(other.evaluation, recipe=Recipe("second"))))
    app = page()
    app.multiselect(key="pareto-models").set_value(["second"])
    app.multiselect(key="pareto-from").set_value(["Build"]).run()
    assert "No recipe passes the filter" in texts(app)
    assert not app.exception


def test_recipes_in_one_engine_at_a_time():
    """Their latencies and answers are the engine's as much as the recipe's."""
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5))
    runs.record(with_cost(a_run(0.4, accuracy=0.91, engine=ORT), 1e5))
    app = page()
    assert app.selectbox(key="pareto-engine").value == runs.ENGINE
    assert not any("100 kMAC" in line for line in app.selectbox(key="front-macs-accuracy").options)
    app.selectbox(key="pareto-engine").set_value(ORT).run()
    lines = app.selectbox(key="front-macs-accuracy").options
    assert any("100 kMAC" in line for line in lines)
    assert not any("600 kMAC" in line for line in lines)
    app.selectbox(key="front-macs-accuracy").select_index(next(i for i, line in enumerate(lines) if "100 kM" in line))
    app.button(key="front-open").click().run()
    assert app.session_state["engine"] == "onnxruntime"


def test_a_sweep_in_another_engine(launched):
    keep((0.1, 0.94, 6e5))
    app = page(Recipe("digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.3),)))
    app.selectbox(key="sweep-engine").set_value("onnxruntime").run()
    assert app.toggle(key="sweep-halving").disabled
    assert app.toggle(key="sweep-gaze").disabled
    app.button(key="sweep-start").click().run()
    assert not app.exception
    (command,) = launched
    space = Space.from_dict(json.loads(Path(command[command.index("sweep") + 1]).read_text()))
    assert (space.engine, space.rungs) == ("onnxruntime", ())
    assert app.selectbox(key="pareto-engine").value == ORT
    assert f"No recipe was measured in {ORT} yet." in texts(app)


def test_knobs_side_by_side_and_which_matters(monkeypatch):
    worker = Worker(delay=0.0)  # what other tests left to be measured does not stand before us
    monkeypatch.setattr(cache, "worker", lambda: worker)
    monkeypatch.setattr(importance, "RESAMPLES", 2)
    for number in range(13):
        ratio = round(0.05 + 0.05 * number, 2)
        runs.record(with_cost(a_run(ratio, accuracy=0.95 - ratio / 2), (1 - ratio) * 1e6))
    app = page()
    app.button_group(key="pareto-view").set_value("Knobs side by side").run()
    assert not app.exception
    (lines,) = spec(app)["data"]
    assert lines["type"] == "parcoords"
    assert [axis["label"] for axis in lines["dimensions"]][1:] == ["MACs", "Accuracy"]
    app.button_group(key="pareto-view").set_value("Which knob matters").run()
    deadline = time.monotonic() + 60
    while "explains" not in texts(app) and time.monotonic() < deadline:  # a thread works it out
        time.sleep(0.2)
        app.run()
    assert not app.exception
    assert "explains 100.0 % of the differences in accuracy" in texts(app)
    assert "over 13 measured recipes" in texts(app)


def test_too_few_recipes_to_say_which_knob_matters():
    keep((0.1, 0.94, 6e5), (0.2, 0.93, 3e5))
    app = page()
    app.button_group(key="pareto-view").set_value("Which knob matters").run()
    assert "10 more are needed" in texts(app)


def test_published_results_stand_before_anything_was_measured():
    app = page()
    app.button_group(key="pareto-shown").set_value("Published").run()
    assert not app.exception
    assert [error.value for error in app.error] == []
    chart = spec(app)
    assert sum(len(trace["x"]) for trace in chart["data"][1:]) > 100
    assert "published" in texts(app)
    assert "quantisation" not in [trace["name"] for trace in chart["data"]]
    app.multiselect(key="published-families").set_value(["tokens"]).run()
    assert [trace["name"] for trace in spec(app)["data"]] == ["Best published", "tokens"]
    app.selectbox(key="published-images").set_value("CIFAR-10").run()
    assert not app.exception
    assert app.selectbox(key="published-kind-macs-CIFAR-10").value == "with attention"


def test_a_sweep_is_started_cancelled_and_resumed(launched):
    recipe = Recipe("digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.3), Step.of("uniform_ptq", w_bits=8)))
    app = page(recipe)
    assert app.button(key="sweep-start").label == "Measure 16 recipes"
    app.button(key="sweep-start").click().run()
    (command,) = launched
    assert command[1:4] == ["-m", "vitedge_core", "sweep"]
    space = json.loads(Path(command[4]).read_text())
    assert [(axis["step"], axis["knob"], axis["values"]) for axis in space["axes"]] == [
        (0, "ratio", [0.15, 0.3, 0.45, 0.6]), (1, "w_bits", [4, 8, 12, 16]),
    ]  # fmt: skip
    (job,) = jobs.jobs(KIND)
    assert job.active
    assert app.button(key=f"cancel-{job.name}").label == "Cancel"

    app.button(key=f"cancel-{job.name}").click().run()
    assert app.button(key=f"cancel-{job.name}").label == "Cancelling"
    assert page().button(key=f"cancel-{job.name}").label == "Cancelling"  # another session, or after a reload

    jobs.study(job.name).set_user_attr("state", [jobs.State.CANCELLED, ""])
    app.run()
    assert "It was cancelled" in texts(app)
    app.button(key=f"resume-{job.name}").click().run()
    assert launched[1] == command
    assert jobs.status(job.name).active


def test_values_of_a_knob_can_be_chosen():
    app = page(Recipe("digits_vit_base", (Step.of("tome", r=8),)))
    (count,) = (widget for widget in app.number_input if widget.label == "Values")
    count.set_value(3).run()
    assert app.button(key="sweep-start").label == "Measure 3 recipes"
    app.multiselect(key="sweep-knobs").set_value([]).run()
    assert app.button(key="sweep-start").disabled


def test_a_search_with_aims_and_limits(launched):
    recipe = Recipe("digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.3), Step.of("uniform_ptq", w_bits=8)))
    app = page(recipe)
    app.selectbox(key="sweep-sampler").set_value("tpe").run()
    app.number_input(key="sweep-trials").set_value(25).run()
    app.multiselect(key="sweep-knobs").set_value([(0, "ratio"), (1, "w_bits"), (1, "keep")]).run()
    app.button_group(key="sweep-optional").set_value([0, 1]).run()
    app.toggle(key="sweep-orders").set_value(True).run()
    app.multiselect(key="sweep-models").set_value(["digits_vit_small"]).run()
    app.button_group(key="sweep-costs").set_value(["macs", "weight_bytes"]).run()
    app.number_input(key="sweep-lost").set_value(2.0).run()
    app.number_input(key="sweep-bytes").set_value(3.0).run()
    assert not app.exception
    assert app.button(key="sweep-start").label == "Measure 25 recipes"
    app.button(key="sweep-start").click().run()
    ((*_, path, _, _),) = launched
    space = Space.from_dict(json.loads(Path(path).read_text()))
    assert (space.sampler, space.trials, space.optional, space.orders) == ("tpe", 25, (0, 1), ((1, 0),))
    assert space.axes[2] == Blocks(1, "keep", (0, 1, 2, 3, 4, 5))
    assert space.goal.objectives == ("accuracy", "macs", "weight_bytes")
    assert list(map(str, space.goal.limits)) == ["lost <= 0.02", "weight_bytes <= 3e+06"]
    assert space.models == ("digits_vit_small",)


def test_what_cannot_be_swept_is_said_beside_the_button():
    recipe = Recipe("digits_vit_base", (Step.of("head_mlp_magnitude", ratio=0.3),))
    app = page(recipe)
    app.button_group(key="sweep-costs").set_value([]).run()
    assert app.button(key="sweep-start").disabled
    assert "named first, against" in texts(app)
    app.button_group(key="sweep-costs").set_value(["macs"]).run()
    app.number_input(key="sweep-bytes").set_value(0.001).run()
    app.button(key="sweep-start").click().run()
    assert "None of the recipes" in texts(app)


def test_a_sweep_is_paused(launched):
    app = page(Recipe("digits_vit_base", (Step.of("tome", r=2),)))
    app.button(key="sweep-start").click().run()
    (job,) = jobs.jobs(KIND)
    worker = {**jobs.heartbeat(0), "share": 0.5, "text": "2 of 4 recipes done", "pausable": True, "since": 0.0}
    jobs.study(job.name).set_user_attr("worker a 1", {**worker, "first": 0.0})
    jobs.study(job.name).set_user_attr("worker a 2", {**worker, "share": 0.4, "first": 0.0})
    app.run()
    assert "2 processes" in texts(app)
    app.button(key=f"pause-{job.name}").click().run()
    assert app.button(key=f"pause-{job.name}").label == "Pausing"
    jobs.study(job.name).set_user_attr("state", [jobs.State.PAUSED, ""])
    app.run()
    assert "It is paused" in texts(app)
    app.button(key=f"resume-{job.name}").click().run()
    assert not jobs.status(job.name).pausing
    assert len(launched) == 2


def test_nothing_to_sweep():
    assert "no step with a knob to vary" in texts(page(Recipe("digits_vit_base")))


def test_without_weights_there_is_nothing_to_measure(monkeypatch):
    monkeypatch.setattr(cache, "without_weights", lambda model: "It has no weights here.")
    app = page()
    assert [info.value for info in app.info] == ["It has no weights here."]


def test_a_broken_store_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken.db").write_text("no database " * 200)
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'broken.db'}")
    app = page()
    assert not app.exception
    assert "cannot be used" in app.error[0].value
