"""The Attention page without a browser: samples, uploads, every view, and what cannot be shown."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import homegrown
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest
from torch import Tensor, nn

from vitedge_core.errors import Cancelled
from vitedge_core.experiments import gaze
from vitedge_core.explain.attention import Observation
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import cache

APP = Path(__file__).parents[2] / "app.py"
TOME, DROP = Step.of("tome", r=6), Step.of("layer_drop", blocks="1")


@pytest.fixture(scope="module")
def model() -> str:
    return homegrown.keep("attention")


@pytest.fixture(autouse=True)
def _nothing_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Build page comes first and would start to measure."""
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Not now.")


def opened(recipe: Recipe) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=120)
    app.query_params["r"] = recipe.to_token()
    app.run()
    app.switch_page("pages/attention.py").run()
    assert not app.exception
    return app


def charts(app: AppTest) -> int:
    return len(app.get("plotly_chart"))


def words(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.success, *app.info, *app.markdown, *app.caption]
    return "\n".join(str(element.value) for element in shown)


def choose(app: AppTest, key: str, value: str) -> AppTest:
    app.segmented_control(key=key).set_value(value).run()
    assert not app.exception
    return app


def figure(app: AppTest, number: int = 0) -> dict:
    return json.loads(app.get("plotly_chart")[number].proto.spec)


def test_a_sample_is_shown_before_and_after(model):
    app = opened(Recipe(model, (TOME,)))
    assert charts(app) == 3
    assert not app.error or "flips" in app.error[0].value
    assert "true class" in words(app)
    assert {metric.label for metric in app.metric} >= {"Attention on the object", "Maps in common"}
    titles = [note["text"] for note in figure(app)["layout"]["annotations"]]
    assert titles == ["image", "baseline", "compressed"]


def test_another_sample_and_a_surprise(model):
    app = opened(Recipe(model, (TOME,)))
    first = figure(app)["layout"]["images"][0]["source"]
    picks = [button for button in app.button if (button.key or "").startswith("attention-pick")]
    assert len(picks) == 10
    picks[3].click().run()
    second = figure(app)["layout"]["images"][0]["source"]
    assert second != first
    app.button(key="attention-surprise").click().run()
    assert not app.exception
    assert charts(app) == 3


def test_every_view_of_blocks_heads_and_tokens(model):
    app = opened(Recipe(model, (TOME,)))
    whole = figure(app)["data"]
    choose(app, "attention-kind", "block")
    assert app.select_slider(key="attention-block").value == 3
    assert figure(app)["data"] != whole
    app.select_slider(key="attention-block").set_value(1).run()
    choose(app, "attention-heads", "max")
    choose(app, "attention-heads", "one")
    app.select_slider(key="attention-head-3").set_value(2).run()
    assert "in block 1, head 2" in words(app)
    app.slider(key="attention-opacity").set_value(20).run()
    assert {trace["opacity"] for trace in figure(app)["data"]} == {0.2}
    choose(app, "attention-kind", "tokens")
    assert "one token from block 3 on" in words(app)
    assert charts(app) == 2


def test_a_block_that_the_recipe_removed_is_a_sentence(model):
    app = opened(Recipe(model, (DROP,)))
    choose(app, "attention-kind", "block")
    app.select_slider(key="attention-block").set_value(2).run()
    assert "The recipe removed block 2" in words(app)
    assert charts(app) == 3
    app.select_slider(key="attention-block").set_value(3).run()
    assert "The recipe removed" not in words(app)


def test_an_empty_recipe_says_how_to_add_a_step(model):
    app = opened(Recipe(model))
    assert "Add a step on the Build page" in words(app)
    assert charts(app) == 3


def test_a_step_that_cannot_follow_is_named_and_skipped(model):
    app = opened(Recipe(model, (TOME, TOME)))
    assert "Tokens are merged already" in words(app)
    assert charts(app) == 3


def test_every_chart_has_a_table(model):
    app = opened(Recipe(model, (TOME,)))
    assert [expander.label for expander in app.expander].count("The same as a table") == charts(app)


def test_a_model_without_weights_is_a_sentence(monkeypatch):
    monkeypatch.setattr(cache, "without_weights", lambda model: "It has no weights here.")
    app = opened(Recipe("resnet18"))
    assert "It has no weights here." in words(app)
    assert charts(app) == 0


def test_a_model_without_attention_still_says_what_it_sees(model, monkeypatch):
    def blind(model: nn.Module, image: Tensor) -> Observation:
        with torch.no_grad():
            return Observation(model(image)[0], note="There is no map of where it looks.")

    monkeypatch.setattr(gaze, "observe", blind)
    app = opened(Recipe(model, (TOME,), seed=1))
    assert "There is no map of where it looks." in words(app)
    assert charts(app) == 1


def test_a_recipe_that_trains_starts_on_a_click_reports_and_can_be_cancelled(model, monkeypatch):
    go, look = threading.Event(), gaze.look

    def slowly(recipe, image, images, report, cancelled):
        report(0.25, "Training, a quarter done")
        while not go.wait(0.02):
            if cancelled():
                raise Cancelled
        return look(recipe.baseline, image)

    monkeypatch.setattr(gaze, "look", slowly)
    app = opened(Recipe(model, (Step.of("soft_logits"),)))
    assert charts(app) == 0
    app.button(key="attention-start").click().run()
    for _ in range(200):
        if any("quarter" in bar.proto.text for bar in app.get("progress")):
            break
        app.run()
    else:
        raise AssertionError("no progress was shown")
    app.button(key="attention-cancel").click().run()
    assert charts(app) == 0
    go.set()
    app.button(key="attention-start").click().run()
    for _ in range(200):
        if charts(app):
            break
        app.run()
    assert charts(app) == 3


def upload(app: AppTest, data: bytes, name: str) -> AppTest:
    choose(app, "attention-source", "upload")
    app.file_uploader(key="attention-file").set_value((name, data, "image/png")).run()
    assert not app.exception
    return app


def test_an_upload_is_shown_and_another_file_is_a_sentence(model):
    app = opened(Recipe(model, (TOME,)))
    picture = io.BytesIO()
    Image.new("RGBA", (90, 60), (200, 40, 40, 90)).save(picture, "PNG")
    upload(app, picture.getvalue(), "mine.png")
    assert charts(app) == 3
    assert "true class" not in words(app)
    assert "Attention on the object" not in {metric.label for metric in app.metric}
    upload(app, b"no image at all", "evil.png")
    assert "evil.png is no image" in words(app)
    assert charts(app) == 0
    choose(app, "attention-source", "samples")
    assert charts(app) == 3
