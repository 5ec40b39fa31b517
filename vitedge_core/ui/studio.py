"""The chart of measured recipes: what to show, the picture, the way from a point to Build, and the file to keep."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.evidence import Quantity
from vitedge_core.plots.pareto import Mark, pareto
from vitedge_core.recipe import Recipe
from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache, layout, quantity, state

if TYPE_CHECKING:
    from vitedge_core.experiments.points import Point
    from vitedge_core.experiments.runs import Run

COSTS = {
    "macs": ("MACs", "MACs of one image", ""),
    "params": ("Parameters", "Parameters", ""),
    "weight_bytes": ("Size on disk", "Size of the weights file", "B"),
    "peak_memory_bytes": ("Peak memory", "Peak memory of one image", "B"),
    "latency_seconds": ("Latency", "Latency of one image on this machine", "s"),
}
GAINS = {
    "accuracy": ("Accuracy", "Accuracy"),
    "pointing_hits": ("Points at the object", "Pointing game: images where attention is highest on the object"),
    "attention_kept": ("Attention kept", "Attention on the object, as a share of the uncompressed model's"),
}


def studio() -> None:
    """Everything below the sweep: filters, chart, what stands on the front."""
    from vitedge_core.experiments.points import points
    from vitedge_core.experiments.runs import all_runs

    runs = all_runs()
    if not runs:
        layout.empty(
            "scatter_plot", "Nothing has been measured yet. Start a sweep above, or measure a recipe in Build."
        )
        return
    chosen, cost, gain = _filters(runs)
    found = points(chosen, cost, gain)
    if not found:
        layout.empty(*_missing(timed=bool(points(chosen, cost))))
        return
    _chart(found, cost, gain)
    _front(found, cost, gain)
    _download(chosen)


def _missing(*, timed: bool) -> tuple[str, str]:
    """Icon and sentence: why no recipe can be shown on these axes, and how to get some."""
    if not timed:
        return "timer", "No recipe here was timed on this machine yet. Switch on “Time each recipe too”."
    return "visibility", (
        "Nobody measured yet where these recipes look. Sweep with “Where each looks, too”, or open one in Build, on "
        "images whose objects have masks: the bundled digits."
    )


def _filters(runs: Sequence[Run]) -> tuple[list[Run], str, str]:
    """Which runs, which cost and which gain. Only one image set is ever shown: accuracies on two cannot be compared."""
    from vitedge_core.experiments.points import image_sets

    sets = {images.digest: images for images in image_sets(runs)}
    models = sorted({run.recipe.model for run in runs})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        cost = st.segmented_control(
            "Cost", list(COSTS), default="macs", required=True, format_func=lambda key: COSTS[key][0],
            key="pareto-cost", persist_state="session",
        )  # fmt: skip
        gain = st.segmented_control(
            "Gain", list(GAINS), default="accuracy", required=True, format_func=lambda key: GAINS[key][0],
            key="pareto-gain", persist_state="session",
        )  # fmt: skip
        wanted = st.multiselect(
            "Models", models, key="pareto-models", placeholder="all models", persist_state="session",
            disabled=len(models) < 2,
        )  # fmt: skip
        digest = st.selectbox(
            "Images", list(sets), key="pareto-images", persist_state="session", disabled=len(sets) < 2,
            format_func=lambda key: f"{sets[key].title} ({sets[key].runs} runs)",
            help="Accuracies on different images cannot be compared, so a chart shows one set.",
        )  # fmt: skip
    chosen = [run for run in runs if run.evaluation.digest == digest and run.recipe.model in (wanted or models)]
    return chosen, cost, gain


def _chart(found: Sequence[Point], cost: str, gain: str) -> None:
    name, title, suffix = COSTS[cost]
    here = state.current_recipe().digest
    gained, upwards = GAINS[gain]
    marks = [_mark(point, name, gained, here) for point in found]
    best = max(found, key=lambda point: point.gain.value)
    alt = (
        f"{gained} against {title} of {len(found)} recipes, {sum(point.on_front for point in found)} of them on the "
        f"front; the best has {human(best.gain)} at {human(best.cost)}."
    )
    table = [_row(point, name, gained) for point in found]
    figure = pareto(marks, title, suffix, gain=upwards)
    picked = quantity.chart(figure, table, f"pareto-{cost}-{gain}", alt, on_select="rerun")
    keys = [point["customdata"][0] for point in picked.selection.points if point.get("customdata")]
    recipe = next((point.recipe for point in found if keys and point.key == keys[0]), None)
    if recipe is not None:
        open_in_build(recipe)
    st.caption(
        "Better is up and to the left. Filled marks are on the front: nothing measured is both cheaper and "
        "better. Click a mark to open its recipe in Build. Bars are 95 % intervals."
    )


def _front(found: Sequence[Point], cost: str, gain: str) -> None:
    """The front as a list, for those who do not click on charts; the knee is offered first."""
    front = sorted((point for point in found if point.on_front), key=lambda point: not point.knee)
    lines = {point.key: _line(point) for point in front}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Recipes on the front",
            list(lines),
            format_func=lambda key: lines[key],
            key=f"front-{cost}" if gain == "accuracy" else f"front-{cost}-{gain}",
        )
        if st.button("Open in Build", key="front-open", icon=":material/tune:", type="primary"):
            open_in_build(next(point.recipe for point in front if point.key == chosen))


def open_in_build(recipe: Recipe) -> None:
    """Make it the recipe that all pages talk about, and go there."""
    state.set_recipe(recipe)
    st.switch_page("pages/build.py")


def in_words(recipe: Recipe) -> list[str]:
    """What is done to the model, a line for each step."""
    lines = []
    for step in recipe.active:
        knobs = ", ".join(f"{name} {value}" for name, value in step.params)
        lines.append(f"{cache.title_of(step)}: {knobs}" if knobs else cache.title_of(step))
    return lines or ["uncompressed"]


def _mark(point: Point, name: str, gained: str, here: str) -> Mark:
    lines = [f"<b>{escape(point.recipe.model)}</b>", *map(escape, in_words(point.recipe)), ""]
    lines += [f"{name}: {_told(point.cost)}", f"Accuracy: {_told(point.accuracy)}, {point.n:,} images"]
    if point.gain != point.accuracy:
        lines.append(f"{gained}: {_told(point.gain)}")
    return Mark(
        point.key, point.recipe.model, _ends(point.cost), _ends(point.gain), "<br>".join(lines),
        point.on_front, point.knee, point.key == here, "" if point.recipe.active else "uncompressed",
    )  # fmt: skip


def _row(point: Point, name: str, gained: str) -> dict[str, Any]:
    return {
        "Model": point.recipe.model, "Recipe": "; ".join(in_words(point.recipe)), name: human(point.cost),
        gained: human(point.gain), "95 % interval": interval(point.gain), "Accuracy": human(point.accuracy),
        "Images": point.n,
        "On front": point.on_front, "Knee": point.knee,
    }  # fmt: skip


def _line(point: Point) -> str:
    what = "; ".join(in_words(point.recipe))
    return f"{'Knee: ' if point.knee else ''}{human(point.gain)} at {human(point.cost)}: {point.recipe.model}, {what}"


def _told(value: Quantity) -> str:
    bounds = "" if value.is_exact else interval(value)
    return f"{human(value)} ({bounds})" if bounds else human(value)


def _ends(value: Quantity) -> tuple[float, float, float]:
    low = value.value if value.low is None else value.low
    high = value.value if value.high is None else value.high
    return value.value, low, high


@st.fragment
def _download(runs: Sequence[Run]) -> None:
    from vitedge_core.experiments.points import csv_text

    st.download_button(
        f"Download {len(runs)} runs as CSV", lambda: csv_text(runs), "vitedge-runs.csv", "text/csv", key="runs-csv",
        icon=":material/download:", type="tertiary", on_click="ignore",
    )  # fmt: skip
