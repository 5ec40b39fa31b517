"""What every page shares: its head, its place for problems, and the line that names the current recipe."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe
from vitedge_core.ui import state

if TYPE_CHECKING:
    from vitedge_core.compress import Planned

_log = logging.getLogger(__name__)
CHART = {"displayModeBar": False, "responsive": True}


def header(title: str, lead: str) -> DeltaGenerator:
    """The title of a page, one sentence that says what it is for, and what went wrong before it was drawn.

    Returns:
        The place at the right of the title, for the page's own buttons.
    """
    if not state.started():
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(gap=None, width="content"):
            st.title(title, anchor=False)
            st.caption(lead)
        actions = st.container(horizontal=True, width="content")
    for sentence in state.notices():
        st.warning(sentence, icon=":material/info:")
    return actions


def first_start() -> None:
    """While PyTorch is loaded, once per server, the page shows its shape and says so."""
    if "vitedge_core.compress" not in sys.modules:
        with st.skeleton(height=420), st.spinner("Starting PyTorch, once; this takes a few seconds."):
            import vitedge_core.compress  # noqa: F401


@contextmanager
def guarded() -> Iterator[None]:
    """Draw a part of a page; a problem inside becomes one sentence in its place, and the rest of the page goes on."""
    try:
        yield
    except VitEdgeError as error:
        st.error(str(error), icon=":material/error:")
    except Exception as error:  # noqa: BLE001  the page must survive a bug, and the log must have it
        _log.exception("a part of the page failed")
        st.error(
            f"This part could not be drawn ({type(error).__name__}). The rest of the page works; "
            "the server's log has the details.",
            icon=":material/bug_report:",
        )


def recipe_line(recipe: Recipe | None = None) -> None:
    """One line that names the recipe the page talks about, and the way to change it."""
    from vitedge_core.ui.cache import model_title, title_of

    recipe = recipe or state.current_recipe()
    steps = [title_of(step) for step in recipe.active] or ["no steps yet"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/deployed_code: **{model_title(recipe.model)}** :gray[→] " + " :gray[→] ".join(steps))
        st.page_link("pages/build.py", label="Change it in Build", icon=":material/tune:")


def open_in(recipe: Recipe, page: str, engine: str | None = None) -> None:
    """Make it the recipe that all pages talk about, in the engine of that key, and go to a page, such as "build"."""
    state.set_recipe(recipe)
    if engine is not None:
        state.set_engine(engine)
    st.switch_page(f"pages/{page}.py")


def planned_recipe() -> Planned:
    """What the current recipe does to the shapes, under a line that names it and a warning for each step it cannot do.

    Raises:
        VitEdgeError: Nobody knows the model.
    """
    from vitedge_core.ui import cache

    recipe_line()
    planned, _ = cache.planned(state.current_recipe())
    for problem in planned.problems.values():
        st.warning(problem, icon=":material/block:")
    return planned


def empty(icon: str, sentence: str) -> None:
    """A quiet place that says why nothing stands here yet."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f":material/{icon}: :gray[{sentence}]", text_alignment="center")
