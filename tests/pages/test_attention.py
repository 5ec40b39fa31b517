"""The Attention page without a browser: samples, uploads, every view, and what cannot be shown."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import homegrown
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from vitedge_core.errors import Cancelled
from vitedge_core.experiments import gaze, hardest
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


def charts(app: AppTest) -> list[str]:
    """Keys of the charts, in their order."""
    return [chart.proto.id.split("-", 2)[2] for chart in app.get("plotly_chart")]


def words(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.success, *app.info, *app.markdown, *app.caption]
    return "\n".join(str(element.value) for element in shown)


def choose(app: AppTest, key: str, value: str) -> AppTest:
    app.segmented_control(key=key).set_value(value).run()
    assert not app.exception
    return app


def figure(app: AppTest, key: str) -> dict:
    return next(json.loads(c.proto.spec) for c in app.get("plotly_chart") if c.proto.id.endswith(f"-{key}"))


MAPS = ["attention-baseline", "attention-compressed", "attention-difference"]
BESIDE = ["attention-predictions", *MAPS, "attention-strip"]


def opacities(app: AppTest, key: str) -> set[float]:
    return {trace["opacity"] for trace in figure(app, key)["data"] if trace["type"] == "heatmap"}


def test_a_sample_is_shown_before_and_after(model):
    app = opened(Recipe(model, (TOME,)))
    assert charts(app) == BESIDE
    assert not app.error or "flips" in app.error[0].value
    assert "true class" in words(app)
    assert {metric.label for metric in app.metric} >= {"Attention on the object", "Maps in common"}
    scales = [trace for key in MAPS[:2] for trace in figure(app, key)["data"] if trace["type"] == "heatmap"]
    assert scales[0]["zmax"] == scales[1]["zmax"]


def test_another_sample_and_a_surprise(model):
    app = opened(Recipe(model, (TOME,)))
    first = figure(app, "attention-baseline")["layout"]["images"][0]["source"]
    picks = [button for button in app.button if (button.key or "").startswith("attention-pick")]
    assert len(picks) == 10
    picks[3].click().run()
    second = figure(app, "attention-baseline")["layout"]["images"][0]["source"]
    assert second != first
    app.button(key="attention-surprise").click().run()
    assert not app.exception
    assert charts(app) == BESIDE


def test_every_view_of_blocks_and_heads(model):
    app = opened(Recipe(model, (TOME,)))
    whole = figure(app, "attention-baseline")["data"]
    choose(app, "attention-kind", "block")
    assert app.select_slider(key="attention-block").value == 3
    assert figure(app, "attention-baseline")["data"] != whole
    app.select_slider(key="attention-block").set_value(1).run()
    choose(app, "attention-heads", "max")
    choose(app, "attention-heads", "one")
    app.select_slider(key="attention-head-3").set_value(2).run()
    assert "in block 1, head 2" in words(app)
    app.slider(key="attention-opacity").set_value(20).run()
    assert opacities(app, "attention-compressed") == {0.2}
    choose(app, "attention-kind", "weighted")
    assert "speak for" in words(app)
    assert charts(app) == BESIDE


def test_one_map_is_wiped_over_the_other(model):
    app = opened(Recipe(model, (TOME,)))
    choose(app, "attention-compare", "slider")
    assert charts(app) == ["attention-predictions", "attention-wipe", "attention-difference", "attention-strip"]


def test_what_does_this_patch_look_at(model):
    app = opened(Recipe(model, (TOME,)))
    whole = figure(app, "attention-baseline")["data"]
    choose(app, "attention-from", "patch")
    assert "the framed patch in row 5, column 5" in words(app)
    app.number_input(key="attention-patch-row-8").set_value(2).run()
    app.number_input(key="attention-patch-column-8").set_value(7).run()
    assert not app.exception
    assert "the framed patch in row 2, column 7" in words(app)
    assert figure(app, "attention-baseline")["data"] != whole
    (frame,) = figure(app, "attention-compressed")["layout"]["shapes"]
    assert (frame["x0"], frame["y0"]) == (6 / 8, 1 / 8)


def test_the_fate_of_the_tokens(model):
    app = opened(Recipe(model, (TOME,)))
    choose(app, "attention-kind", "tokens")
    assert "After block 3, of 64 patches" in words(app)
    assert charts(app) == ["attention-predictions", "attention-groups"]
    app.select_slider(key="attention-tokens-3").set_value(1).run()
    assert "After block 1, of 64 patches" in words(app)
    app.session_state["kept-attention-followed"] = 9
    app.run()
    assert "The patch in row 2, column 2" in words(app)
    assert [row["block"] for _, row in app.dataframe[0].value.iterrows()] == [1, 2, 3]


def test_a_block_that_the_recipe_removed_is_a_sentence(model):
    app = opened(Recipe(model, (DROP,)))
    choose(app, "attention-kind", "block")
    app.select_slider(key="attention-block").set_value(2).run()
    assert "The recipe removed block 2" in words(app)
    assert charts(app) == ["attention-predictions", *MAPS[:2], "attention-strip"]
    app.select_slider(key="attention-block").set_value(3).run()
    assert "The recipe removed" not in words(app)


def test_an_empty_recipe_says_how_to_add_a_step(model):
    app = opened(Recipe(model))
    assert "Add a step on the Build page" in words(app)
    assert charts(app) == BESIDE
    choose(app, "attention-source", "hardest")
    assert "Add a step to the recipe first" in words(app)
    assert charts(app) == []


def test_a_step_that_cannot_follow_is_named_and_skipped(model):
    app = opened(Recipe(model, (TOME, TOME)))
    assert "Tokens are merged already" in words(app)
    assert charts(app) == BESIDE


def test_what_charts_show_is_in_tables(model):
    app = opened(Recipe(model, (TOME,)))
    tables = [expander.label for expander in app.expander].count("The same as a table")
    assert tables == 3  # predictions, the three maps together, the strip
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))


def test_a_model_without_weights_is_a_sentence(monkeypatch):
    monkeypatch.setattr(cache, "without_weights", lambda model: "It has no weights here.")
    app = opened(Recipe("resnet18"))
    assert "It has no weights here." in words(app)
    assert charts(app) == []


def test_a_model_without_attention_still_says_what_it_sees_and_what_counts():
    app = opened(Recipe("digits_convnet", (Step.of("magnitude"),)))
    assert "no softmax attention" in words(app)
    assert charts(app) == ["attention-predictions"]
    explained(app, "saliency")
    assert charts(app) == ["attention-predictions", "attribution-baseline", "attribution-compressed"]
    app.selectbox(key="attribution-way").set_value("heads").run()
    app.button(key="attribution-start").click().run()
    until(app, lambda: "no attention heads" in words(app))


def until(app: AppTest, done: Callable[[], bool]) -> None:
    """Look again and again, as the page does, for at most a minute."""
    for _ in range(600):
        if done():
            return
        time.sleep(0.1)
        app.run()
    raise AssertionError(f"it never came: {words(app)}")


def explained(app: AppTest, way: str) -> AppTest:
    app.selectbox(key="attribution-way").set_value(way).run()
    app.button(key="attribution-start").click().run()
    until(app, lambda: "attribution-compressed" in charts(app))
    assert not app.exception
    return app


@pytest.mark.parametrize("way", ["integrated_gradients", "heads"])
def test_attributions_show_by_how_much_they_miss_their_sum(model, way):
    app = explained(opened(Recipe(model, (DROP,))), way)
    errors = [metric for metric in app.metric if metric.label.startswith("Completeness error")]
    assert [metric.label.split(", ")[1] for metric in errors] == ["baseline", "compressed"]
    if way == "heads":
        texts = figure(app, "attribution-compressed")["data"][0]["text"]
        assert texts[1] == ["removed"] * 3
        assert "removed" not in texts[0] + texts[2]


def test_the_hardest_hit_are_found_ranked_and_shown(model, monkeypatch):
    monkeypatch.setattr(hardest, "IMAGES", 12)
    app = opened(Recipe(model, (DROP,), seed=3))
    choose(app, "attention-source", "hardest")
    assert charts(app) == []
    app.button(key="hardest-start").click().run()
    until(app, lambda: "attention-baseline" in charts(app))
    assert "Answers that change" in {metric.label for metric in app.metric}
    tiles = [button for button in app.button if (button.key or "").startswith("hardest-pick")]
    assert len(tiles) == 10
    first = figure(app, "attention-baseline")["layout"]["images"][0]["source"]
    tiles[4].click().run()
    assert figure(app, "attention-baseline")["layout"]["images"][0]["source"] != first
    choose(app, "hardest-by", "attention")
    assert charts(app) == BESIDE


def test_a_recipe_that_trains_starts_on_a_click_reports_and_can_be_cancelled(model, monkeypatch):
    go, look = threading.Event(), gaze.look

    def slowly(recipe, image, images, report, cancelled, *, weighted):
        report(0.25, "Training, a quarter done")
        while not go.wait(0.02):
            if cancelled():
                raise Cancelled
        return look(recipe.baseline, image, weighted=weighted)

    monkeypatch.setattr(gaze, "look", slowly)
    app = opened(Recipe(model, (Step.of("soft_logits"),)))
    assert charts(app) == []
    app.button(key="gaze-start").click().run()
    until(app, lambda: any("quarter" in bar.proto.text for bar in app.get("progress")))
    app.button(key="gaze-cancel").click().run()
    assert charts(app) == []
    go.set()
    app.button(key="gaze-start").click().run()
    until(app, lambda: charts(app) == BESIDE)
    picks = [button for button in app.button if (button.key or "").startswith("attention-pick")]
    picks[3].click().run()  # another image needs no second click
    until(app, lambda: charts(app) == BESIDE)


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
    assert charts(app) == BESIDE
    assert "true class" not in words(app)
    assert "Attention on the object" not in {metric.label for metric in app.metric}
    upload(app, b"no image at all", "evil.png")
    assert "evil.png is no image" in words(app)
    assert charts(app) == []
    choose(app, "attention-source", "samples")
    assert charts(app) == BESIDE


def test_images_of_a_persons_own_folder(model, tmp_path):
    for digit in ("3", "7"):
        (tmp_path / digit).mkdir()
        for number in range(3):
            Image.effect_noise((60, 50), 90).save(tmp_path / digit / f"{number}.png")
    app = opened(Recipe(model, (TOME,)))
    app.session_state["images"] = str(tmp_path)
    app.run()
    assert "named on the Build page" in words(app)
    assert {b.label for b in app.button if (b.key or "").startswith("attention-pick")} == {"3", "7"}
    assert charts(app) == BESIDE
