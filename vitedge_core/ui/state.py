"""The only reader and writer of the session and of the address bar.

The recipe lives in `st.session_state`, never in a widget; a widget's callback writes into it, and every full run ends
with the address `?r=<token>` saying the same, with `&e=<key>` where an engine was chosen. So a reload, a bookmark and a
copied address lose nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import MAX_STEPS, Recipe, Scalar, Step

EAGER = "eager"  # the engine of whoever chose none
DEFAULT = Recipe("digits_vit_base", (Step.of("head_mlp_taylor", ratio=0.3),))


# Streamlit takes a folder called "pages" for an app without `st.navigation` until the first run has called it, and
# then a server's first visitor would get a page without `app.py` around it. See `layout.header`.
PagesManager.uses_pages_directory = False


def started() -> bool:
    """Whether `app.py` has run in this session."""
    return "recipe" in st.session_state


def start() -> None:
    """Call first in every run: takes the recipe from the address on a new session, or after Back and Forward."""
    session = st.session_state
    first = not started()
    if first:
        session.session = uuid.uuid4().hex
        session.step_number = 0
        session.images = None
        session.engine = EAGER
        session.seen = frozenset()
        _store(DEFAULT)
    if first or _went_back():
        session.engine = st.query_params.get("e", EAGER)[:40]
    token = st.query_params.get("r")
    # a rerun can still carry the address of a moment ago: an address of our own counts only after Back or Forward
    if token and token != session.get("token") and (first or token not in session.seen or _went_back()):
        _saw(token)
        try:
            set_recipe(Recipe.from_token(token))
        except VitEdgeError as error:
            notice(str(error))


def publish() -> None:
    """Call last in every run: puts the recipe into the address."""
    session = st.session_state
    token = session.recipe.to_token()
    if session.recipe != DEFAULT or "r" in st.query_params:
        _saw(token)
        if st.query_params.get("r") != token:
            st.query_params["r"] = token
    chosen = engine()
    if chosen != EAGER and st.query_params.get("e") != chosen:
        st.query_params["e"] = chosen
    elif chosen == EAGER and "e" in st.query_params:
        del st.query_params["e"]


def _saw(token: str) -> None:
    known = st.session_state.seen
    st.session_state.seen = (known if len(known) < 1_000 else frozenset()) | {token}
    st.session_state.token = token


def _went_back() -> bool:
    context = get_script_run_ctx(suppress_warning=True)
    return bool(getattr(context, "is_history_navigation", False))


def session_key() -> str:
    """A name for this browser session that no other has."""
    return st.session_state.session


def notice(sentence: str) -> None:
    """A sentence to show at the top of the page until the recipe changes."""
    if sentence not in st.session_state.notices:
        st.session_state.notices = (*st.session_state.notices, sentence)


def forget_notices() -> None:
    """The sentences have been read."""
    st.session_state.notices = ()


def notices() -> tuple[str, ...]:
    """The sentences to show now."""
    return st.session_state.notices


def current_recipe() -> Recipe:
    """The recipe that all pages talk about."""
    return st.session_state.recipe


def set_recipe(recipe: Recipe) -> None:
    """Replace the recipe; its steps get new numbers, so no widget carries an old value over."""
    _store(recipe)


def link(recipe: Recipe | None = None) -> str:
    """The address that opens this recipe on this page, on any machine that can reach this server."""
    token = (recipe or current_recipe()).to_token() + ("" if engine() == EAGER else f"&e={quote(engine())}")
    here = urlsplit(st.context.url or "http://localhost:8501/")
    return urlunsplit((here.scheme, here.netloc, here.path, f"r={token}", ""))


# Steps and their numbers: a number stays with its step while it moves, so that its widgets keep their keys.


def steps() -> tuple[tuple[int, Step], ...]:
    """The steps with their numbers, in order."""
    return tuple(zip(st.session_state.numbers, current_recipe().steps, strict=True))


def add_step(step: Step) -> None:
    """Put a step at the end.

    Raises:
        VitEdgeError: The recipe is full.
    """
    recipe = current_recipe()
    if len(recipe.steps) >= MAX_STEPS:
        raise VitEdgeError(f"A recipe has at most {MAX_STEPS} steps; remove one first.")
    _write([*steps(), (_new_number(), step)])


def remove_step(number: int) -> None:
    """Take a step out."""
    _write([pair for pair in steps() if pair[0] != number])


def move_step(number: int, by: int) -> None:
    """Move a step up (-1) or down (+1); at the end nothing happens."""
    pairs = list(steps())
    place = next((i for i, pair in enumerate(pairs) if pair[0] == number), None)
    if place is not None and 0 <= place + by < len(pairs):
        pairs.insert(place + by, pairs.pop(place))
        _write(pairs)


def change_step(number: int, step: Step) -> None:
    """Let a step become what its own widgets say."""
    _write([(n, step if n == number else old) for n, old in steps()])


def replace_step(number: int, step: Step) -> None:
    """Put another step there under a new number, so that its widgets are drawn anew and show it."""
    _write([(_new_number(), step) if known == number else (known, old) for known, old in steps()])


def set_knob(number: int, name: str, value: Scalar) -> None:
    """Set one knob of a step."""
    for known, step in steps():
        if known == number:
            change_step(number, step.with_knob(name, value))


def set_model(name: str) -> None:
    """Another model under the same steps."""
    st.session_state.recipe = replace(current_recipe(), model=name)
    st.session_state.model_number = _new_number()
    forget_notices()


def model_number() -> int:
    """Changes with the model, so that its widget is drawn anew and shows it."""
    return st.session_state.model_number


def images() -> str | None:
    """A folder of class folders to measure on; None is the model's own images."""
    return st.session_state.images


def set_images(where: str | None) -> None:
    """Measure on other images."""
    st.session_state.images = where


def engine() -> str:
    """Key of the engine that recipes are measured in, as it was chosen or stood in the address."""
    return st.session_state.get("engine", EAGER)


def set_engine(key: str) -> None:
    """Measure in another engine."""
    st.session_state.engine = key


def remember(name: str, value: Any) -> None:
    """Keep a page's own value for this session."""
    st.session_state[f"kept-{name}"] = value


def recall(name: str, default: Any = None) -> Any:
    """What `remember` kept."""
    return st.session_state.get(f"kept-{name}", default)


def job(page: str) -> str:
    """The job a page shows: the one in the address, else the one this session saw there last; empty for none."""
    named = st.query_params.get("job") or recall(f"job-{page}", "")
    if named:
        show_job(page, named)
    return named


def show_job(page: str, name: str) -> None:
    """Have a page show this job, after a reload too."""
    remember(f"job-{page}", name)
    if st.query_params.get("job") != name:
        st.query_params["job"] = name


def fill(key: str, value: Any) -> None:
    """Make the widget of that key show `value`; call before drawing it, so that the recipe always rules."""
    if st.session_state.get(key) != value:
        st.session_state[key] = value


def widget(key: str) -> Any:
    """What a widget holds, for its callback."""
    return st.session_state.get(key)


def _new_number() -> int:
    st.session_state.step_number += 1
    return st.session_state.step_number


def _store(recipe: Recipe) -> None:
    st.session_state.recipe = recipe
    st.session_state.numbers = tuple(_new_number() for _ in recipe.steps)
    st.session_state.model_number = _new_number()
    forget_notices()


def _write(pairs: list[tuple[int, Step]]) -> None:
    st.session_state.numbers = tuple(number for number, _ in pairs)
    st.session_state.recipe = replace(current_recipe(), steps=tuple(step for _, step in pairs))
    forget_notices()
