"""Accuracy and latency of a recipe: two cards that follow the sliders as soon as they are measured.

While something is measured, what was known last stays in its place, grey and marked as the recipe's before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.evidence import Quantity
from vitedge_core.recipe import Recipe
from vitedge_core.text.human import human
from vitedge_core.ui import cache, layout, measuring, quantity, state, units
from vitedge_core.ui.measuring import POLL, Reading

if TYPE_CHECKING:
    from vitedge_core.experiments.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Asked:
    """What shall be measured: a recipe on images, in an engine."""

    recipe: Recipe
    images: str | None
    engine: str


TITLES = {"accuracy": "Accuracy", "latency_seconds": "Latency"}
HELP = {
    "accuracy": "Share of right first answers, on images that neither training nor calibration saw.",
    "latency_seconds": "Time for one image on one thread of this machine; both models run in turn.",
}


IN_ENGINE = {
    "same_answers": (
        "Same answers",
        "Share of images that the engine and the same recipe in eager PyTorch answer alike.",
    ),
    "logits_error": ("Logits off by", "Norm of the difference from the eager model's logits, by the norm of these."),
    "artefact_bytes": ("File", "What the engine keeps as a file, beside the uncompressed model in float32."),
    "build_seconds": ("Built in", "Converting, calibrating and compiling, once."),
}


def figures(recipe: Recipe, engine: str) -> Mapping[str, Quantity] | None:
    """What was measured of the compressed model so far, costs of its real shapes included."""
    best = measuring.read(recipe, state.images(), engine).best
    return best.compressed if best else None


def cards(recipe: Recipe, baseline_macs: float, engine: str) -> None:
    """Start what can be measured by itself, and draw the two cards; in an engine what becomes of the answers, too.

    While something is under way, only the line below them looks for news; the page is drawn again when there are some.
    """
    images = state.images()
    missing = cache.unmeasurable(recipe.model, images)
    if missing:
        layout.empty("cloud_off", f"Costs only, nothing to measure. {missing}")
        return
    asked = Asked(recipe, images, engine)
    reading = measuring.follow(recipe, images, measuring.automatic(recipe, baseline_macs, engine, images), engine)

    for column, name in zip(st.columns(2), TITLES, strict=True):
        with column.container(border=True, height="stretch", gap="small"):
            if reading.best and name in reading.best.compressed:
                state.remember(f"last {name}", (recipe.model, images, engine, reading.best))
                _measured(name, reading.best)
                _source(name, reading.best)
            else:
                _awaited(name, asked, busy=reading.task is not None)
    if reading.best:
        _agreement(reading.best)

    def status() -> None:
        now = measuring.read(recipe, images, engine)
        if now.mark != reading.mark:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            _status(asked, now)

    st.fragment(status, run_every=POLL if reading.task else None)()


def _measured(name: str, shown: Evaluation) -> None:
    after, before = shown.compressed[name], shown.baseline[name]
    if name == "accuracy":
        clear = not shown.difference.low <= 0 <= shown.difference.high  # type: ignore[operator]
        quantity.draw_metric(TITLES[name], after, before, higher_is_better=True, difference=shown.difference,
                             clear=clear, help=HELP[name])  # fmt: skip
    else:
        clear = shown.ratio is not None and not shown.ratio.low <= 1 <= shown.ratio.high  # type: ignore[operator]
        quantity.draw_metric(TITLES[name], after, before, higher_is_better=False, clear=clear, help=HELP[name])


def _awaited(name: str, asked: Asked, *, busy: bool) -> None:
    """The figure of the recipe before, if of the same model in the same engine; else a shape that waits for one."""
    *before, last = state.recall(f"last {name}", (None, None, None, None))
    icon = "spinner" if busy else None
    if before == [asked.recipe.model, asked.images, asked.engine]:
        st.metric(TITLES[name], f":gray[{human(last.compressed[name])}]", icon=icon, help=HELP[name],
                  delta="of the recipe before", delta_color="off", delta_arrow="off")  # fmt: skip
    else:
        st.metric(TITLES[name], ":gray[…]" if busy else ":gray[–]", icon=icon, help=HELP[name],
                  delta="measuring" if busy else "not measured", delta_color="off", delta_arrow="off")  # fmt: skip
    st.popover(":gray-badge[no evidence yet]", type="tertiary", key=f"source-{name}", disabled=True)  # keeps the height


def _source(name: str, shown: Evaluation) -> None:
    also = {"Difference from the baseline": shown.difference} if name == "accuracy" else {}
    if name == "latency_seconds" and shown.ratio:
        also = {"Time compared with the baseline": shown.ratio}
    quantity.source(shown.compressed[name], shown.baseline[name], key=name, also=also)


def _agreement(shown: Evaluation) -> None:
    """How the engine's answers compare with the eager model's; a warning if it changes more than is known of them."""
    known = {name: shown.compressed[name] for name in IN_ENGINE if name in shown.compressed}
    if not known:
        return
    if shown.flagged:
        eager = shown.compressed["eager_accuracy"]
        st.warning(
            f"The engine keeps {human(known['same_answers'])} of eager PyTorch's answers: it changes more than the "
            f"accuracy is known to ({units.bounds(eager)}). Judge it by its own accuracy.",
            icon=":material/warning:",
        )
    with st.grid(4, min_column_width=150):
        for name, value in known.items():
            title, meaning = IN_ENGINE[name]
            quantity.metric(title, value, shown.baseline.get(name), key=name, help=meaning)


def _status(asked: Asked, reading: Reading) -> None:
    """One line under the cards: what is going on or was done, and the way to start or stop it."""
    if reading.task is not None:
        st.caption(f"Measuring, {reading.task.fraction:.0%}: {reading.task.text}", width="stretch")
        if st.button("Cancel", key="cancel-measuring", type="tertiary", icon=":material/stop_circle:"):
            measuring.cancel(asked.recipe, asked.engine)
            st.rerun()
    elif reading.stopped is not None:
        st.caption(f":red[{reading.stopped.error}]", width="stretch")
        _starter("Try again", asked, measuring.FULL if reading.best else measuring.QUICK)
    elif reading.best is None:
        why = "It trains, its engine compiles, or its model is large: measured on your word."
        st.caption("Cancelled." if measuring.cancelled(asked.recipe, asked.engine) else why, width="stretch")
        _starter(f"Measure on {measuring.QUICK_IMAGES} images", asked, measuring.QUICK)
    else:
        st.caption(" ".join((f"Measured on {reading.best.n:,} images.", *reading.best.notes)), width="stretch")
        if "latency_seconds" not in reading.best.compressed:
            _starter("Measure all images and the latency", asked, measuring.FULL)


def _starter(label: str, asked: Asked, stage: str) -> None:
    if st.button(label, key=f"start-{stage}", icon=":material/play_circle:", type="tertiary"):
        state.remember("cancelled", None)
        measuring.start(stage, asked.recipe, asked.images, asked.engine)
        st.rerun()
