"""A recipe on its way out: link, Python, command line, the recipe as a file, the model in a form of choice."""

from __future__ import annotations

import streamlit as st

from vitedge_core.recipe import Recipe
from vitedge_core.text.snippets import command, python
from vitedge_core.ui import cache, state, take_away


def bar(recipe: Recipe) -> None:
    """A row of buttons; what they open is drawn only then.

    Args:
        recipe: What can be carried out; the link carries the whole recipe of the page, also what is switched off.
    """
    link = st.popover("Copy link", icon=":material/link:", key="share-link", on_change="rerun")
    code = st.popover("Code", icon=":material/code:", key="share-code", on_change="rerun")
    files = st.popover("Download", icon=":material/download:", key="share-files", on_change="rerun")
    if link.open:
        with link:
            st.caption("Opens this recipe with the same numbers wherever this server can be reached.")
            st.code(state.link(), language=None, wrap_lines=True)
    if code.open:
        with code:
            st.caption("In a script")
            st.code(python(recipe), language="python")
            st.caption("On the command line")
            st.code(command(recipe), language="bash", wrap_lines=True)
    if files.open:
        with files:
            _files(recipe)


def _files(recipe: Recipe) -> None:
    st.download_button(
        "Recipe (JSON)", recipe.to_json(), "recipe.json", "application/json", key="save-recipe",
        icon=":material/description:", on_click="ignore", width="stretch",
    )  # fmt: skip
    missing = cache.without_weights(recipe.model)
    if missing:
        st.caption(missing)
        return
    take_away.choose(recipe)
