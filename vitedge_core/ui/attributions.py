"""What counts for the answer: attributions of both models, computed in the background on a click."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.plots import attribution as figures
from vitedge_core.recipe import Recipe
from vitedge_core.ui import layout, quantity, state, waiting
from vitedge_core.ui.pictures import Picture
from vitedge_core.ui.worker import Work

if TYPE_CHECKING:
    from vitedge_core.experiments.attributions import Explained
    from vitedge_core.experiments.gaze import Gaze

NAMES = ("baseline", "compressed")
PURPOSE = "attribution"
_LARGE = 0.1  # share of the change of the logit: sums that miss more are not to be read as shares


def attributions(recipe: Recipe, gaze: Gaze, picture: Picture, names: Sequence[str]) -> None:
    """A choice of methods, and what the chosen one finds in both models."""
    from vitedge_core.experiments.attributions import WAYS

    answer = names[int(gaze.before.logits.argmax())]
    st.subheader(f"What counts for “{answer}”", anchor=False)
    way = st.selectbox(
        "Method", list(WAYS), format_func=lambda key: WAYS[key].title, key="attribution-way", width=320,
        help="Computed by Captum, for the baseline's answer, in both models.",
    )  # fmt: skip
    st.caption(WAYS[way].idea)
    key = (PURPOSE, recipe.digest, state.images(), picture.digest, way)
    found = waiting.result_of(
        key, _work(recipe, picture, way), "Compute",
        "Both models see the image some dozens of times: seconds for a small model, minutes for a large one.",
    )  # fmt: skip
    if found is not None:
        with layout.guarded():
            _shown(found, gaze, answer)


def _work(recipe: Recipe, picture: Picture, way: str) -> Work:
    from vitedge_core.experiments.attributions import explain_both

    images = state.images()
    return lambda report, cancelled: explain_both(recipe, picture.image, way, images, report, cancelled)


def _shown(found: Explained, gaze: Gaze, answer: str) -> None:
    from vitedge_core.experiments.attributions import HEADS, WAYS

    way = WAYS[found.way]
    pairs = list(zip(NAMES, (found.before, found.after), strict=True))
    top = figures.top_of(found.before, found.after)
    for column, (name, values) in zip(st.columns(2, gap="large"), pairs, strict=True):
        figure: Any = (
            figures.heads(values, name, top) if found.way == HEADS
            else figures.panel(gaze.pixels, values, name, top, signed=way.signed, unit=way.unit)
        )  # fmt: skip
        column.plotly_chart(figure, key=f"attribution-{name}", config=layout.CHART,
                            alt=f"{way.title} for {answer}, {name}.")  # fmt: skip
    rows = figures.head_rows(pairs) if found.way == HEADS else figures.map_rows(pairs)
    quantity.twin(rows, "attribution", f"{way.title} for {answer}: what counts most in either model.")
    if way.signed:
        st.caption("Orange speaks for the answer, violet against it. Both models share one colour scale.")
    _errors(found)


def _errors(found: Explained) -> None:
    """By how much the values miss the sum they promise."""
    errors = [(name, error) for name, error in zip(NAMES, found.errors, strict=True) if error is not None]
    if not errors:
        return
    for column, (name, error) in zip(st.columns(3), errors, strict=False):
        with column:
            quantity.metric(
                f"Completeness error, {name}", error, key=f"attribution-error-{name}",
                help="By how much the values miss the change of the logit that they should sum to.",
            )  # fmt: skip
    if any(error.value > _LARGE for _, error in errors):
        st.info(
            "A sum that misses this much is not to be read as shares: rounding and merging make the logit jump, and "
            "gradients do not see jumps; or the logit hardly changes at all.",
            icon=":material/info:",
        )
