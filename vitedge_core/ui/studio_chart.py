"""The chart of measured recipes: marks, hovers, what the front dominates, the way from a mark to Build."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.plots.pareto import MANY, Axis, Mark, pareto
from vitedge_core.recipe import Recipe
from vitedge_core.text.human import human
from vitedge_core.ui import cache, quantity, saving, state, words
from vitedge_core.ui.objectives import OBJECTIVES, ends

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from vitedge_core.experiments.points import Point
    from vitedge_core.experiments.runs import Run


def chart(
    found: Sequence[Point], runs: Sequence[Run], limits: dict[str, float], *, by_sweep: bool, in_space: bool
) -> Recipe | None:  # fmt: skip
    """The points as a chart with its table and its files.

    Args:
        found: At least one.
        runs: What they come from, for the table to keep.
        limits: The budget.
        by_sweep: Colours tell where a recipe is from instead of its model.
        in_space: Three objectives in space instead of on paper.

    Returns:
        The recipe whose mark was clicked.
    """
    from vitedge_core.experiments.points import csv_text

    figure = _figure(found, limits, by_sweep=by_sweep, in_space=in_space)
    names = [OBJECTIVES[axis].name for axis in found[0].axes]
    title = f"{names[1]} against {' and '.join([names[0], *names[2:]])}"
    alt = _alt(found, title)
    key = f"pareto-{'-'.join(found[0].axes)}{'-space' if in_space else ''}"
    picked = quantity.chart(
        figure, lambda: [words.row(point) for point in found], key, alt, config=saving.camera("recipes"),
        on_select="ignore" if in_space else "rerun",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(_caption(found, in_space=in_space))
        saving.save("recipes", figure, title, alt, (f"{len(runs)} runs (CSV)", lambda: csv_text(runs)))
    _dominated(found)
    keys = [] if in_space else [p["customdata"][0] for p in picked.selection.points if p.get("customdata")]
    return next((point.recipe for point in found if keys and point.key == keys[0]), None)


def _figure(found: Sequence[Point], limits: dict[str, float], *, by_sweep: bool, in_space: bool) -> go.Figure:
    here = state.current_recipe().digest
    marks = [_mark(point, limits, here, by_sweep=by_sweep) for point in found]
    axes = [_axis(axis, limits) for axis in found[0].axes]
    if in_space:
        from vitedge_core.plots.pareto_space import pareto_space

        return pareto_space(marks, (axes[0], axes[1], axes[2]))
    return pareto(marks, axes[0], axes[1], third=len(axes) > 2)


def _axis(key: str, limits: dict[str, float]) -> Axis:
    objective = OBJECTIVES[key]
    return Axis(objective.axis, objective.suffix, objective.format, objective.higher, limits.get(key))


def _mark(point: Point, limits: dict[str, float], here: str, *, by_sweep: bool) -> Mark:
    from vitedge_core.experiments.points import within

    third = point.third
    group = point.origin if by_sweep else cache.model_title(point.recipe.model)
    return Mark(
        point.key, group, ends(point.cost), ends(point.gain), _hover(point),
        point.on_front, point.knee, point.key == here, "" if point.recipe.active else "uncompressed",
        ends(third) if third is not None else None, within(point, limits),
    )  # fmt: skip


def _hover(point: Point) -> str:
    axes = dict.fromkeys((*point.axes, "accuracy"))
    lines = [f"<b>{escape(cache.model_title(point.recipe.model))}</b>", *map(escape, words.of_recipe(point.recipe)), ""]
    lines += [f"{OBJECTIVES[axis].name}: {words.told(point, axis)}" for axis in axes]
    return "<br>".join([*lines, f"{point.n:,} images; from {escape(point.origin)}"])


def _alt(found: Sequence[Point], title: str) -> str:
    best = min(found, key=lambda point: point.place[1])
    return (
        f"{title} of {len(found)} measured recipes, {sum(point.on_front for point in found)} of them on the front; "
        f"the best has {human(best.gain)} at {human(best.cost)}."
    )


def _caption(found: Sequence[Point], *, in_space: bool) -> str:
    objectives = [OBJECTIVES[axis] for axis in found[0].axes]
    if in_space:
        better = "; ".join(f"{each.name}: {'more' if each.higher else 'less'} is better" for each in objectives)
        return f"{better}. Large marks are on the front; drag to turn, hover to read; the list below opens recipes."
    way = f"{'up' if objectives[1].higher else 'down'} and to the {'right' if objectives[0].higher else 'left'}"
    size = f" The larger a mark, the more {objectives[2].name}." if len(objectives) > 2 else ""
    bars = " Bars are 95 % intervals." if len(found) <= MANY else " Bars are 95 % intervals, on the front only."
    return (
        f"Better is {way}.{size} Filled marks are on the front: nothing measured beats them on one objective without "
        f"losing on another. Click a mark to open its recipe in Build.{bars}"
    )


def _dominated(found: Sequence[Point]) -> None:
    """The hypervolume in a sentence, with where it comes from."""
    from vitedge_core.experiments.points import covered

    share = covered(found)
    bend = next((point for point in found if point.knee), None)
    if share is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        knee = f"The knee, where the front bends most: **{words.line(bend).removeprefix('Knee: ')}**. " if bend else ""
        st.markdown(f"{knee}The front dominates **{human(share)}** of the chart (its hypervolume).")
        quantity.source(share, key="covered")
