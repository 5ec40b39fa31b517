"""The figures of a recipe: costs that follow the sliders at once, measurements that follow when they are ready."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.evidence import Quantity
from vitedge_core.plots.build import block_bars, falls, waterfall
from vitedge_core.recipe import Recipe
from vitedge_core.text.human import change, human
from vitedge_core.ui import cache, measuring, quantity, state
from vitedge_core.ui.measuring import POLL, Reading

if TYPE_CHECKING:
    from vitedge_core.cost.report import Cost
    from vitedge_core.experiments.evaluate import Evaluation

FIGURES = {
    "params": ("Parameters", "Numbers that were learned. Zeros count: they are stored like any other."),
    "macs": ("MACs", "Multiply-accumulate operations for one image; one MAC is two FLOPs."),
    "weight_bytes": ("Size on disk", "The weights file, packed at the recipe's bits, scales included."),
    "peak_memory_bytes": ("Peak memory", "Weights and the most activations that are alive at once, for one image."),
}


def cost_cards(before: Cost, after: Cost) -> None:
    """Four cards: what the compressed model takes, and how that compares."""
    for column, (name, (title, meaning)) in zip(st.columns(4), FIGURES.items(), strict=True):
        with column:
            quantity.metric(title, getattr(after, name), getattr(before, name), key=name, help=meaning)


def effects(costs: Sequence[Cost]) -> list[str]:
    """What each step changes, in words."""
    told = []
    for before, after in pairwise(costs):
        moved = [
            f"{change(getattr(before, name), getattr(after, name))} {title if name == 'macs' else title.lower()}"
            for name, (title, _) in FIGURES.items()
            if getattr(before, name).value != getattr(after, name).value
        ]
        told.append(", ".join(moved) or "the costs stay the same")
    return told


def charts(costs: Sequence[Cost], titles: Sequence[str]) -> None:
    """What each step contributes, and where the costs are; one choice of figure for both."""
    names = {"macs": "MACs", "params": "Parameters", "weight_bytes": "Size on disk"}
    name = st.segmented_control(
        "Show", list(names), default="macs", required=True, format_func=names.get, key="shown", persist_state="session"
    )
    left, right = st.columns(2, gap="medium")
    with left:
        _waterfall(costs, titles, name, names[name])
    with right:
        _blocks(costs[0], costs[-1], name, names[name])


def _waterfall(costs: Sequence[Cost], titles: Sequence[str], name: str, title: str) -> None:
    values: list[Quantity] = [getattr(cost, name) for cost in costs]
    steps = falls(titles, [value.value for value in values])
    moved = [change(before, after) for before, after in pairwise(values)]
    st.subheader("What each step does", anchor=False)
    alt = f"{title} from the baseline, {human(values[0])}, through {len(steps)} steps to {human(values[-1])}."
    table = [
        {"step": "Baseline", title: human(values[0]), "change": ""},
        *[
            {"step": step.label, title: human(value), "change": text}
            for step, value, text in zip(steps, values[1:], moved, strict=True)
        ],
    ]
    figure = waterfall(steps, values[0].value, [human(values[0]), *moved, human(values[-1])], values[0].unit)
    quantity.chart(figure, table, "waterfall", alt)


def _blocks(before: Cost, after: Cost, name: str, title: str) -> None:
    rows = cache.block_rows(before, after, name)
    st.subheader("Where it is spent", anchor=False)
    unit = getattr(before, name).unit
    figure = block_bars([row.label for row in rows], [row.before for row in rows], [row.after for row in rows], unit)
    told = [
        {"part": row.label, "baseline": human(row.quantity(row.before)), "compressed": human(row.quantity(row.after))}
        for row in rows
    ]
    quantity.chart(figure, told, "blocks", f"{title} of each part of the network, baseline beside compressed.")


def measured_cards(recipe: Recipe, baseline_macs: float) -> None:
    """Accuracy and latency; while they are measured the last known ones stay, marked as such."""
    images = state.images()
    stages = measuring.automatic(recipe, baseline_macs)
    reading = measuring.follow(recipe, images, stages)
    if reading.best is not None:
        state.remember("last", (recipe.model, images, reading.best))

    def draw() -> None:
        now = measuring.read(recipe, images)
        if now.mark != reading.mark:
            st.rerun()
        _cards(recipe, images, now)

    st.fragment(draw, run_every=POLL if reading.task else None)()


def _cards(recipe: Recipe, images: str | None, reading: Reading) -> None:
    shown, current = reading.best, True
    if shown is None:
        model, where, last = state.recall("last", (None, None, None))
        shown, current = (last, False) if (model, where) == (recipe.model, images) else (None, False)
    accuracy, latency = st.columns(2)
    with accuracy.container(border=True, gap="small"):
        _figure("Accuracy", "accuracy", shown, current=current, busy=reading.task is not None)
        _progress(recipe, images, reading)
    with latency.container(border=True, gap="small"):
        timed = shown is not None and "latency_seconds" in shown.compressed
        _figure("Latency", "latency_seconds", shown if timed else None, current=current, busy=reading.task is not None)
        _latency_line(recipe, images, reading, timed=timed)


def _figure(title: str, name: str, shown: Evaluation | None, *, current: bool, busy: bool) -> None:
    """The card's number: measured, kept from the recipe before, or a shape that waits for one."""
    icon = "spinner" if busy and not current else None
    if shown is None:
        st.metric(title, ":gray[measuring…]" if busy else ":gray[not measured]", icon="spinner" if busy else None)
        return
    after, before = shown.compressed[name], shown.baseline[name]
    if not current:
        st.metric(
            title, f":gray[{human(after)}]", icon=icon, delta="the recipe before", delta_color="off", delta_arrow="off"
        )
        return
    accuracy = name == "accuracy"
    quantity.draw_metric(
        title, after, before, higher_is_better=accuracy, difference=shown.difference if accuracy else None
    )
    quantity.source(after, before, key=name, difference=shown.difference if accuracy else shown.ratio)


def _progress(recipe: Recipe, images: str | None, reading: Reading) -> None:
    """What is going on, in one line, with the way to start or stop it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if reading.task is not None:
            st.caption(f"{reading.task.fraction:.0%} · {reading.task.text}")
            if st.button("Cancel", key="cancel-measuring", type="tertiary", icon=":material/stop_circle:"):
                measuring.cancel(recipe)
                st.rerun()
        elif reading.stopped is not None:
            st.caption(f":red[{reading.stopped.error}]")
            _starter("Try again", recipe, images, measuring.QUICK)
        elif reading.best is None:
            _starter(f"Measure on {measuring.QUICK_IMAGES} images", recipe, images, measuring.QUICK)
        else:
            st.caption(f"{reading.best.n:,} images, the same for both models")


def _latency_line(recipe: Recipe, images: str | None, reading: Reading, *, timed: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        if timed:
            st.caption("One image, one thread, both models in turn")
        elif reading.task is not None:
            st.caption("Comes after the accuracy")
        elif reading.best is not None:
            _starter("Measure latency and all images", recipe, images, measuring.FULL)
        else:
            st.caption("Measured with the accuracy")


def _starter(label: str, recipe: Recipe, images: str | None, stage: str) -> None:
    if st.button(label, key=f"start-{stage}", icon=":material/play_circle:", type="tertiary"):
        state.remember("cancelled", None)
        measuring.start(stage, recipe, images)
        st.rerun()
