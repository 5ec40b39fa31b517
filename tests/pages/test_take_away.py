"""The model as a file on the Build page: the choice of a form, what prevents it, and what is saved in the end."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.test_build import _nothing_to_measure, opened, sentences  # noqa: F401  the fixture holds here, too
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled
from vitedge_core.evidence import Quantity
from vitedge_core.export import FORMS, form
from vitedge_core.export.forms import Written
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache, take_away
from vitedge_core.ui.worker import Stage, Task

ROUNDED = Recipe("digits_vit_base", (Step.of("uniform_ptq", w_bits=8, a_bits=8),))


@pytest.fixture
def app(monkeypatch) -> AppTest:
    monkeypatch.setattr(cache, "without_weights", lambda model: None)
    page = opened(ROUNDED)
    page.session_state["share-files"] = True
    return page.run()


def test_every_form_can_be_chosen_and_says_what_it_is_for(app):
    choice = app.selectbox(key="take-form")
    assert choice.options == [one.title for one in FORMS]
    for one in FORMS:
        app.selectbox(key="take-form").select(one.key).run()
        assert one.purpose in sentences(app)
        assert not app.exception


def test_a_form_that_cannot_take_the_recipe_names_the_step_and_offers_nothing(app):
    app.selectbox(key="take-form").select("onnx").run()
    assert "Step 1 of the recipe (uniform_ptq) prevents this export" in sentences(app)
    assert not [button for button in app.button if button.key == "take-build"]
    app.selectbox(key="take-form").select("onnx-int8").run()
    assert app.button(key="take-build")


def test_a_failure_is_a_sentence_and_can_be_tried_again(app, monkeypatch):
    task = Task(("take",), lambda report, cancelled: None, Stage.FAILED, error="The disk is full.")
    monkeypatch.setattr(cache, "found", lambda key: task if key[0] == "take" else None)
    app.run()
    assert "The disk is full." in sentences(app)
    assert app.button(key="take-build").label == "Try again"


def test_a_finished_file_has_its_size_its_check_and_what_it_lacks(app, monkeypatch, tmp_path):
    (tmp_path / "m.zip").write_bytes(b"x")
    check = {
        "same_answers": Quantity.exact(1.0, "share", "50 of 50 images of digits get the same class; 95 % interval"),
        "largest_difference": Quantity.exact(0.00001, "ratio", "largest"),
    }
    written = Written(tmp_path / "m.zip", Quantity.exact(1_230_000, "byte", "size"), check, ("A note.",))
    task = Task(("take",), lambda report, cancelled: None, Stage.DONE, result=take_away.Kept(written.path, written))
    monkeypatch.setattr(cache, "found", lambda key: task if key[0] == "take" else None)
    app.run()
    shown = sentences(app)
    assert app.get("download_button")[-1].label == "Save .zip (1.23 MB)"
    for part in ("50 of 50 images of digits get the same class", "1e-05", "A note.", FORMS[0].lacks):
        assert part in shown


def test_the_work_leaves_one_file_and_no_other(monkeypatch):
    made = {split: wild_digits.compose(split, 0, count=40) for split in wild_digits.SPLITS}
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
    recipe = Recipe("digits_vit_small", ROUNDED.steps)
    kept = take_away._work(recipe, form("package"), None, {})(lambda share, text: None, lambda: False)
    assert kept.path.name == f"{recipe.digest}-package.zip"
    assert [path.name for path in kept.path.parent.iterdir() if path.is_dir()] == []
    with pytest.raises(Cancelled):
        take_away._work(recipe, form("package"), None, {})(lambda share, text: None, lambda: True)
    assert [path.name for path in kept.path.parent.iterdir() if path.is_dir()] == []


def test_two_parts_are_saved_as_one_zip(tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "m.xml").write_text("graph")
    (parts / "m.bin").write_text("weights")
    path = take_away._moved(parts, parts / "m.xml", tmp_path / "digest-openvino")
    assert path == Path(tmp_path / "digest-openvino.zip")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == ["m.bin", "m.xml"]
