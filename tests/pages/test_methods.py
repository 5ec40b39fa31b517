"""The Methods page: the whole catalogue, the filter, and the way into a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core import registry
from vitedge_core.ui import cache, gallery

APP = Path(__file__).parents[2] / "app.py"
CARDS = [cls.card for cls in registry.techniques()]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setattr(cache, "unmeasurable", lambda model, images: "Weights are not here.")
    page = AppTest.from_file(str(APP), default_timeout=60).run().switch_page("pages/methods.py").run()
    assert not page.exception
    assert not page.error
    return page


def titles(app: AppTest) -> list[str]:
    return [heading.value for heading in app.subheader]


def test_every_method_has_its_card(app: AppTest) -> None:
    assert titles(app) == [card.title for card in CARDS]
    shown = "\n".join(str(caption.value) for caption in app.caption)
    for card in CARDS:
        assert card.reference in shown
        assert not card.arxiv or f"https://arxiv.org/abs/{card.arxiv}" in shown


def test_the_filter_keeps_a_family(app: AppTest) -> None:
    app.segmented_control(key="method-family").set_value("Token reduction").run()
    assert titles(app) == [card.title for card in CARDS if card.family.value == "Token reduction"]


def test_the_search_looks_into_manuals_and_says_when_nothing_matches(app: AppTest) -> None:
    app.text_input(key="method-words").set_value("hinton teacher").run()
    assert titles(app) == ["Soft labels of a teacher"]
    app.text_input(key="method-words").set_value("zebra").run()
    assert titles(app) == []
    assert any("No method matches" in str(text.value) for text in app.markdown)


def test_a_method_opens_to_its_manual_knobs_and_models(app: AppTest) -> None:
    app.session_state["about-tome"] = True
    app.run()
    text = "\n".join(str(block.value) for block in app.markdown)
    for heading in ("Idea", "Cost", "When it fails", "Knobs", "Bundled models"):
        assert f"**{heading}**" in text
    assert ":material/check: Digits ViT base" in text
    assert app.table[0].value["Knob"][0] == "**Tokens merged per block** `r`"


def test_try_it_adds_the_step_and_opens_build(app: AppTest) -> None:
    app.button(key="try-tome").click().run()
    assert not app.exception
    assert app.title[0].value == "Build"
    assert [step.technique for step in app.session_state["recipe"].steps] == ["head_mlp_taylor", "tome"]


def test_try_it_on_a_full_recipe_is_one_sentence(app: AppTest) -> None:
    for _ in range(12):
        app.switch_page("pages/methods.py").run()
        app.button(key="try-tome").click().run()
    assert not app.exception
    assert "at most 12 steps" in app.warning[0].value


@pytest.mark.parametrize("cls", registry.techniques(), ids=lambda cls: cls.card.key)
def test_every_knob_says_what_it_may_be(cls) -> None:
    assert all(gallery.allowed(knob) for knob in cls.knobs())


def test_support_says_why_not() -> None:
    lines = gallery.support("tome", ["digits_vit_base", "digits_swin"])
    assert lines[0] == ":material/check: Digits ViT base"
    assert lines[1].startswith(":material/close: Digits Swin: ")
