"""Accuracy and latency of a recipe: two cards that follow the sliders as soon as they are measured.

While something is measured, what was known last stays in its place, grey and marked as the recipe's before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.recipe import Recipe
from vitedge_core.text.human import human
from vitedge_core.ui import cache, layout, measuring, quantity, state
from vitedge_core.ui.measuring import POLL, Reading

if TYPE_CHECKING:
    from vitedge_core.experiments.evaluation import Evaluation

TITLES = {"accuracy": "Accuracy", "latency_seconds": "Latency"}
HELP = {
    "accuracy": "Share of right first answers, on images that neither training nor calibration saw.",
    "latency_seconds": "Time for one image on one thread of this machine; both models run in turn.",
}


def cards(recipe: Recipe, baseline_macs: float) -> None:
    """Start what can be measured by itself, and draw the two cards; they look again while something is under way."""
    images = state.images()
    missing = cache.unmeasurable(recipe.model, images)
    if missing:
        layout.empty("cloud_off", f"Costs only, nothing to measure. {missing}")
        return
    reading = measuring.follow(recipe, images, measuring.automatic(recipe, baseline_macs))

    def draw() -> None:
        now = measuring.read(recipe, images)
        if now.mark != reading.mark:
            st.rerun()
        _draw(recipe, images, now)

    st.fragment(draw, run_every=POLL if reading.task else None)()


def _draw(recipe: Recipe, images: str | None, reading: Reading) -> None:
    for column, name in zip(st.columns(2), TITLES, strict=True):
        with column.container(border=True, height="stretch", gap="small"):
            shown = reading.best if reading.best and name in reading.best.compressed else None
            if shown:
                state.remember(f"last {name}", (recipe.model, images, shown))
                _measured(name, shown)
            else:
                _awaited(name, recipe, images, busy=reading.task is not None)
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                if shown:
                    _source(name, shown)
                (_progress if name == "accuracy" else _timing)(recipe, images, reading)
    for note in reading.best.notes if reading.best else ():
        st.caption(f":material/info: {note}")


def _measured(name: str, shown: Evaluation) -> None:
    after, before = shown.compressed[name], shown.baseline[name]
    if name == "accuracy":
        clear = not shown.difference.low <= 0 <= shown.difference.high  # type: ignore[operator]
        quantity.draw_metric(TITLES[name], after, before, higher_is_better=True, difference=shown.difference,
                             clear=clear, help=HELP[name])  # fmt: skip
    else:
        clear = shown.ratio is not None and not shown.ratio.low <= 1 <= shown.ratio.high  # type: ignore[operator]
        quantity.draw_metric(TITLES[name], after, before, higher_is_better=False, clear=clear, help=HELP[name])


def _awaited(name: str, recipe: Recipe, images: str | None, *, busy: bool) -> None:
    """The figure of the recipe before, if it was the same model's; else a shape that waits for one."""
    model, where, last = state.recall(f"last {name}", (None, None, None))
    icon = "spinner" if busy else None
    if (model, where) == (recipe.model, images):
        st.metric(TITLES[name], f":gray[{human(last.compressed[name])}]", icon=icon, help=HELP[name],
                  delta="of the recipe before", delta_color="off", delta_arrow="off")  # fmt: skip
    else:
        st.metric(TITLES[name], ":gray[…]" if busy else ":gray[–]", icon=icon, help=HELP[name],
                  delta="measuring" if busy else "not measured", delta_color="off", delta_arrow="off")  # fmt: skip


def _source(name: str, shown: Evaluation) -> None:
    also = {"Difference from the baseline": shown.difference} if name == "accuracy" else {}
    if name == "latency_seconds" and shown.ratio:
        also = {"Time compared with the baseline": shown.ratio}
    quantity.source(shown.compressed[name], shown.baseline[name], key=name, also=also)


def _progress(recipe: Recipe, images: str | None, reading: Reading) -> None:
    """What is going on, in one line, with the way to start or stop it."""
    if reading.task is not None:
        st.caption(f"{reading.task.fraction:.0%} · {reading.task.text}", width="stretch")
        if st.button("Cancel", key="cancel-measuring", type="tertiary", icon=":material/stop_circle:"):
            measuring.cancel(recipe)
            st.rerun()
    elif reading.stopped is not None:
        st.caption(f":red[{reading.stopped.error}]", width="stretch")
        _starter("Try again", recipe, images, measuring.FULL if reading.best else measuring.QUICK)
    elif reading.best is None:
        _starter(f"Measure on {measuring.QUICK_IMAGES} images", recipe, images, measuring.QUICK)
    else:
        st.caption(f"{reading.best.n:,} images")


def _timing(recipe: Recipe, images: str | None, reading: Reading) -> None:
    if reading.best is not None and "latency_seconds" in reading.best.compressed:
        st.caption("one image, one thread")
    elif reading.task is not None:
        st.caption("comes after the accuracy")
    elif reading.best is not None:
        _starter("Measure it, and all images", recipe, images, measuring.FULL)
    else:
        st.caption("measured with the accuracy")


def _starter(label: str, recipe: Recipe, images: str | None, stage: str) -> None:
    if st.button(label, key=f"start-{stage}", icon=":material/play_circle:", type="tertiary"):
        state.remember("cancelled", None)
        measuring.start(stage, recipe, images)
        st.rerun()
