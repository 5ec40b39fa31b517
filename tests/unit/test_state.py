"""The session's recipe: its steps keep their numbers, sessions keep apart, links come and go."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import MAX_STEPS, Recipe, Step
from vitedge_core.techniques.base import Knob
from vitedge_core.ui import state
from vitedge_core.ui.recipe_editor import shown


class Session(dict):
    """Stands for `st.session_state`."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Browser:
    """Stands for Streamlit: a session, and the address bar it sees."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **address: str) -> None:
        self.session, self.address = Session(), dict(address)
        self.url = "http://edge.example:8501/attention?r=old"
        context = SimpleNamespace(url=self.url)
        monkeypatch.setattr(
            state, "st", SimpleNamespace(session_state=self.session, query_params=self.address, context=context)
        )
        self.back = False
        monkeypatch.setattr(state, "_went_back", lambda: self.back)

    def run(self, change=lambda: None) -> Recipe:
        """One run of the script."""
        state.start()
        change()
        state.publish()
        return state.current_recipe()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Browser:
    return Browser(monkeypatch)


TOME, TAYLOR = Step.of("tome", r=3), Step.of("head_mlp_taylor", ratio=0.2)
RECIPE = Recipe("digits_vit_small", (TOME, TAYLOR))


def test_a_new_session_starts_with_the_default_and_a_clean_address(browser: Browser) -> None:
    assert browser.run() == state.DEFAULT
    assert browser.address == {}


def test_a_link_is_taken_and_the_address_follows_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(monkeypatch, r=RECIPE.to_token())
    assert browser.run() == RECIPE
    changed = browser.run(lambda: state.set_knob(state.steps()[0][0], "r", 5))
    assert changed.steps[0] == Step.of("tome", r=5)
    assert Recipe.from_token(browser.address["r"]) == changed


def test_an_address_of_a_moment_ago_does_not_undo_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(monkeypatch, r=RECIPE.to_token())
    browser.run()
    changed = browser.run(lambda: state.set_model("digits_vit_base"))
    browser.address["r"] = RECIPE.to_token()  # the browser had not heard of the new one yet
    assert browser.run() == changed


def test_back_undoes_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(monkeypatch, r=RECIPE.to_token())
    browser.run()
    browser.run(lambda: state.set_model("digits_vit_base"))
    browser.address["r"], browser.back = RECIPE.to_token(), True
    assert browser.run() == RECIPE


def test_another_link_in_the_same_session_is_taken(browser: Browser) -> None:
    browser.run()
    browser.address["r"] = RECIPE.to_token()
    assert browser.run() == RECIPE


def test_a_damaged_link_is_told_until_the_recipe_changes_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(monkeypatch, r="damaged")
    assert browser.run() == state.DEFAULT
    browser.run()
    assert len(state.notices()) == 1
    browser.run(lambda: state.set_model("digits_vit_small"))
    assert state.notices() == ()
    assert Recipe.from_token(browser.address["r"]).steps == state.DEFAULT.steps


def test_the_link_names_the_recipe_and_the_server(browser: Browser) -> None:
    browser.run()
    link = state.link(RECIPE)
    assert link.startswith("http://edge.example:8501/attention?r=")
    assert Recipe.from_token(link.partition("?r=")[2]) == RECIPE


def test_steps_keep_their_numbers_while_they_move(browser: Browser) -> None:
    browser.run(lambda: state.set_recipe(RECIPE))
    (first, _), (second, _) = state.steps()
    state.move_step(second, -1)
    assert state.steps() == ((second, TAYLOR), (first, TOME))
    state.move_step(second, -1)  # already at the top
    state.remove_step(first)
    assert state.steps() == ((second, TAYLOR),)
    state.add_step(TOME)
    assert state.steps()[1][0] not in {first, second}


def test_a_replaced_recipe_gets_new_numbers(browser: Browser) -> None:
    browser.run(lambda: state.set_recipe(RECIPE))
    before = {number for number, _ in state.steps()}
    state.set_recipe(RECIPE)
    assert before.isdisjoint(number for number, _ in state.steps())


def test_a_full_recipe_refuses_one_more_step(browser: Browser) -> None:
    browser.run(lambda: state.set_recipe(Recipe("digits_vit_base", (TOME,) * MAX_STEPS)))
    with pytest.raises(VitEdgeError, match="at most 12"):
        state.add_step(TOME)


RATIO = Knob("ratio", 0.3, "Share", "", 0.0, 0.9, 0.05)
COUNT = Knob("r", 4, "Tokens", "", 0, 64, 1)
WORD = Knob("ranking", "per layer", "Ranking", "", options=("per layer", "global"))
SWITCH, NAME = Knob("heads", True, "Heads", ""), Knob("teacher", "", "Teacher", "")
anything = some.one_of(some.booleans(), some.integers(-(2**53), 2**53), some.floats(-1e9, 1e9), some.text(max_size=9))


@given(some.sampled_from([RATIO, COUNT, WORD, SWITCH, NAME]), anything)
def test_whatever_a_link_holds_a_widget_can_show(knob: Knob, value: object) -> None:
    nearest = shown(knob, value)  # type: ignore[arg-type]
    assert knob.check("test", nearest) == nearest
    assert type(nearest) is type(knob.default)


@given(some.sampled_from([(RATIO, 0.25), (COUNT, 7), (WORD, "global"), (SWITCH, False), (NAME, "digits_convnet")]))
def test_an_allowed_value_is_shown_as_it_is(pair) -> None:
    assert shown(*pair) == pair[1]
