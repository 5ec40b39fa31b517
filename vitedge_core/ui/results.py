"""The costs of a recipe, which follow the sliders at once: cards, what each step does, where it is spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plots.build import block_bars, falls, pairs, waterfall
from vitedge_core.text.human import change
from vitedge_core.ui import cache, quantity, units

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.report import Cost

FIGURES = {
    "params": ("Parameters", "Numbers that were learned. Zeros count: they are stored like any other."),
    "macs": ("MACs", "Multiply-accumulate operations for one image; one MAC is two FLOPs."),
    "weight_bytes": ("Size on disk", "The weights file, packed at the recipe's bits, scales included."),
    "peak_memory_bytes": ("Peak memory", "Weights and the most activations that are alive at once, for one image."),
}
ESTIMATE = "What a step removes depends on the weights: these are estimates until it has been carried out."


def cost_cards(before: Cost, after: Cost, measured: Mapping[str, Quantity] | None) -> None:
    """Four cards: what the compressed model takes, and how that compares.

    Args:
        measured: Figures of the model as it was really compressed, to show in the place of estimates.
    """
    known = measured or {}
    with st.grid(4, min_column_width=150):
        for name, (title, meaning) in FIGURES.items():
            value = known.get(name) or getattr(after, name)
            quantity.metric(_named(name, title), value, getattr(before, name), key=name, help=meaning)


def effects(costs: Sequence[Cost]) -> list[str]:
    """What each step changes, in words."""
    told = []
    for before, after in pairwise(costs):
        moved = [
            f"{change(getattr(before, name), getattr(after, name))} {_named(name, title.lower())}"
            for name, (title, _) in FIGURES.items()
            if getattr(before, name).value != getattr(after, name).value
        ]
        told.append(", ".join(moved) or "the costs stay the same")
    return told


def carried_out(planned: Planned, costs: Sequence[Cost]) -> tuple[list[Cost], list[str]]:
    """The costs without those of steps that cannot be carried out, and the titles of the other steps."""
    done = [place for place in range(len(planned.recipe.active)) if place not in planned.problems]
    titles = [cache.title_of(planned.recipe.active[place]) for place in done]
    return [costs[0], *[costs[place + 1] for place in done]], titles


def charts(costs: Sequence[Cost], titles: Sequence[str]) -> None:
    """What each step contributes, and where the costs are; one choice of figure for both."""
    names = {"macs": units.operations(), "params": "Parameters", "weight_bytes": "Size on disk"}
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        name = st.segmented_control(
            "Show", list(names), default="macs", required=True, format_func=lambda key: names[key], key="shown",
            persist_state="session",
        )  # fmt: skip
        units.switch("build")
    if costs[-1].macs.evidence is Evidence.PREDICTED:
        quantity.note(Evidence.PREDICTED, ESTIMATE)
    left, right = st.columns(2, gap="medium")
    with left:
        _waterfall(costs, titles, name, names[name])
    with right:
        _blocks(costs[0], costs[-1], name, names[name])


def _named(name: str, title: str) -> str:
    return units.operations() if name == "macs" else title


def _waterfall(costs: Sequence[Cost], titles: Sequence[str], name: str, title: str) -> None:
    values: list[Quantity] = [getattr(cost, name) for cost in costs]
    times, unit = units.axis(values[0].unit)
    steps = falls(titles, [times * value.value for value in values])
    moved = [change(before, after) for before, after in pairwise(values)]
    st.subheader("What each step does", anchor=False)
    alt = f"{title} from the baseline, {units.said(values[0])}, through {len(steps)} steps to {units.said(values[-1])}."
    table = [
        {"Step": "Baseline", title: units.said(values[0]), "Change": ""},
        *[
            {"Step": step.label, title: units.said(value), "Change": text}
            for step, value, text in zip(steps, values[1:], moved, strict=True)
        ],
    ]
    told = [units.said(values[0]), *moved, units.said(values[-1])]
    quantity.chart(waterfall(steps, times * values[0].value, told, unit), table, "waterfall", alt)


def _blocks(before: Cost, after: Cost, name: str, title: str) -> None:
    rows = pairs(before.by_block, after.by_block, name)
    st.subheader("Where it is spent", anchor=False)
    counted = getattr(before, name).unit
    times, unit = units.axis(counted)
    figure = block_bars([row._replace(before=times * row.before, after=times * row.after) for row in rows], unit)
    told = [
        {
            "Part": row.label,
            "Baseline": units.counted(row.before, counted),
            "Compressed": units.counted(row.after, counted),
        }
        for row in rows
    ]
    quantity.chart(figure, told, "blocks", f"{title} of each part of the network, baseline beside compressed.")
