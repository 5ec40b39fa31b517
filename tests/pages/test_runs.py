"""The Runs page: what it lists, and what becomes of the runs that are chosen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.unit.test_points import with_cost
from tests.unit.test_runs import a_run
from vitedge_core.experiments import run_notes, runs
from vitedge_core.experiments.run_files import WRITERS
from vitedge_core.experiments.run_list import Entry, entries
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, measuring

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setattr(cache, "without_weights", lambda model: None)
    monkeypatch.setattr(measuring, "automatic", lambda *_: ())  # Build, the first page, would begin to measure


def page():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    return app.switch_page("pages/runs.py").run()


def texts(app):
    kinds = ("markdown", "caption", "error", "warning")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind))


def keep(*figures):
    for number, (ratio, accuracy, macs) in enumerate(figures):
        runs.record(with_cost(a_run(ratio, accuracy=accuracy, time=1000.0 + number, origin="Build"), macs))


def choose(app, *rows):
    (table,) = (frame for frame in app.dataframe if frame.key and frame.key.startswith("runs-table"))
    app.session_state[table.key] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return app.run()


def listed(app):
    return app.dataframe[0].value


def test_before_anything_was_measured():
    app = page()
    assert not app.exception
    assert "No run is kept yet" in texts(app)
    assert [error.value for error in app.error] == []


def test_runs_stand_in_a_table_the_latest_first():
    keep((0.5, 0.9, 5e5), (0.2, 0.94, 8e5))
    app = page()
    assert not app.exception
    rows = listed(app)
    assert rows["Accuracy, %"].tolist() == pytest.approx([94, 90])
    assert rows["MMAC"].tolist() == pytest.approx([0.8, 0.5])
    assert rows["95 % interval"][1] == "88.0 to 92.0 %"
    assert rows["Evidence"].tolist() == ["measured"] * 2
    assert rows["Run"].tolist() == [entry.name for entry in entries()]
    assert app.button(key="runs-compare").disabled
    assert app.button(key="runs-delete").disabled


def test_filters():
    keep((0.5, 0.9, 5e5))
    other = a_run(0.3, time=5.0, origin="sweep")
    recipe = Recipe("second", (Step.of("tome", r=8),))
    runs.record(replace(other, evaluation=replace(other.evaluation, recipe=recipe)))
    app = page()
    app.multiselect(key="runs-models").set_value(["second"]).run()
    assert listed(app)["Model"].tolist() == ["second"]
    assert "1 of 2 runs" in texts(app)
    app.multiselect(key="runs-models").set_value([]).run()
    app.text_input(key="runs-words").set_value("ratio=0.5 build").run()
    assert listed(app)["Model"].tolist() == ["tiny"]
    app.text_input(key="runs-words").set_value("nothing says this").run()
    assert "None of the 2 runs fits" in texts(app)
    app.text_input(key="runs-words").set_value("").run()
    app.selectbox(key="runs-since").set_value("Last hour").run()
    assert "None of the 2 runs fits" in texts(app)  # both were measured in 1970
    assert not app.exception


def test_a_run_opens_in_build():
    keep((0.5, 0.9, 5e5), (0.2, 0.94, 8e5))
    app = choose(page(), 1)
    app.button(key="runs-open").click().run()
    assert app.session_state["recipe"] == a_run(0.5).recipe


def test_runs_stand_side_by_side_until_they_are_closed():
    keep((0.5, 0.80, 5e5), (0.2, 0.94, 8e5), (0.3, 0.93, 5e5))
    app = choose(page(), 0, 1, 2)
    app.button(key="runs-compare").click().run()
    assert not app.exception
    assert [error.value for error in app.error] == []
    knobs, figures = (table.value for table in app.table)
    accuracy = next(row for row in figures.to_dict("records") if row["Figure"].startswith("Accuracy"))
    assert "within the intervals" in accuracy["B"]
    assert "≠ **80.0 %**" in accuracy["C"]
    assert "−13.0 points" in accuracy["C"]
    (ratio,) = (row for row in knobs.to_dict("records") if row[""].endswith(": Share removed"))
    assert [ratio[letter].split()[-1].strip("]") for letter in "ABC"] == ["0.3", "0.2", "0.5"]
    assert ":orange-background[≠" in ratio["B"]
    assert "Engine" not in knobs[""].tolist()  # it is the same, and shown on request
    charts = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    assert [chart["layout"]["title"]["text"] for chart in charts] == ["Accuracy ≠", "MACs ≠"]
    assert charts[0]["data"][0]["y"] == ["A", "B", "C"]
    assert "are not kept with a run" in texts(app)
    app.toggle(key="compared-all").set_value(True).run()
    assert "Engine" in app.table[0].value[""].tolist()
    app.button(key="runs-close").click().run()
    assert "Side by side" not in [title.value for title in app.subheader]


def test_what_strangers_wrote_is_shown_as_it_is():
    run = replace(a_run(0.5), title="*odd* [link](http://x) $a$", imported=True)
    runs.record(run)
    keep((0.2, 0.94, 8e5))
    app = choose(page(), 0, 1)
    app.button(key="runs-compare").click().run()
    (images,) = (row for row in app.table[0].value.to_dict("records") if row[""] == "Images")
    assert r"\*odd\* \[link\](http\://x) \$a\$" in images["B"]


def test_latencies_of_different_engines_stand_apart_with_a_sentence():
    first = a_run(0.5, timed=True, machine="here")
    runs.record(first)
    runs.record(replace(first, engine="OpenVINO", time=2.0))
    app = choose(page(), 0, 1)
    app.button(key="runs-compare").click().run()
    (row,) = (row for row in app.table[1].value.to_dict("records") if row["Figure"].startswith("Time against"))
    assert "cannot be compared" in row["B"]
    assert "≠" not in row["B"]
    assert "Time against uncompressed: They were measured in different engines" in texts(app)


def test_deleting_and_undoing():
    keep((0.5, 0.9, 5e5), (0.2, 0.94, 8e5), (0.3, 0.93, 5e5))
    app = choose(page(), 0, 2)
    app.button(key="runs-delete").click().run()
    assert listed(app)["Accuracy, %"].tolist() == pytest.approx([94])
    assert "2 runs" in app.toast[0].value
    assert "Deleted last: 2 runs" in texts(app)
    assert app.button(key="runs-delete").disabled  # nothing is chosen in the table that is left
    app.button(key="runs-undo").click().run()
    assert len(listed(app)) == 3
    assert "Deleted last" not in texts(app)


def test_deleting_everything_leaves_the_way_back():
    keep((0.5, 0.9, 5e5))
    app = choose(page(), 0)
    app.button(key="runs-delete").click().run()
    assert "No run is kept yet" in texts(app)
    app.button(key="runs-undo").click().run()
    assert len(listed(app)) == 1


def test_tagging_keeps_the_choice():
    keep((0.5, 0.9, 5e5), (0.2, 0.94, 8e5))
    one, other = (entry.name for entry in entries())
    run_notes.tag([one, other], ["both"])
    run_notes.tag([other], ["own"])
    app = choose(page(), 0, 1)
    app.session_state["runs-tag"] = True
    app = choose(app, 0, 1)
    (field,) = (box for box in app.multiselect if box.label == "Tags of 2 runs")
    assert field.value == ["both"]
    field.set_value(["paper"])
    (save,) = (button for button in app.button if button.label == "Save")
    save.click().run()
    assert not app.exception
    assert run_notes.notes().tags == {one: ("paper",), other: ("own", "paper")}
    assert listed(app)["Tags"].tolist() == ["paper", "own, paper"]
    assert not app.button(key="runs-compare").disabled


def test_export_of_what_is_chosen_or_all():
    keep((0.5, 0.9, 5e5), (0.2, 0.94, 8e5))
    app = page()
    app.session_state["runs-export"] = True
    app.run()
    assert "All that are listed: 2 runs" in texts(app)
    assert [button.label for button in app.get("download_button")] == ["JSON", "CSV", "Parquet"]
    choose(app, 0)
    assert "The chosen ones: 1 run." in texts(app)


@pytest.mark.parametrize("kind", WRITERS)
def test_importing_a_file(kind):
    run = a_run(0.4)
    app = page()
    app.file_uploader[0].set_value(
        (f"runs.{kind}", WRITERS[kind]([Entry(run.name, run, ("mine",))]), "text/plain")
    ).run()
    assert not app.exception
    assert [entry.tags for entry in entries()] == [("mine",)]
    assert listed(app)["Evidence"].tolist() == ["imported"]
    assert app.toast[0].value == "Runs: 1 imported."
    assert app.file_uploader[0].value is None  # empty again


def test_a_file_that_is_none_is_a_sentence():
    app = page()
    app.file_uploader[0].set_value(("runs.json", b"{}", "application/json")).run()
    assert "This is no file with runs" in app.error[0].value
    assert entries() == ()


def test_a_broken_store_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "broken.db").write_text("no database " * 200)
    monkeypatch.setenv("VITEDGE_STORAGE", f"sqlite:///{tmp_path / 'broken.db'}")
    app = page()
    assert not app.exception
    assert "cannot be used" in app.error[0].value
