"""The sensitivity map of the What broke page: it starts on a click, and a cell leads to a step of the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.trials import BITS, BLOCK, Change
from vitedge_core.plots.sensitivity import FIGURES, heat_map, heat_rows
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache, measuring, quantity, state, waiting
from vitedge_core.ui.worker import Report

if TYPE_CHECKING:
    from vitedge_core.experiments.sensitivity import Cell, Sensitivity

PURPOSE = "sensitivity"
PICK = "sensitivity-pick"
Place = tuple[int, int]  # number of the place, number of the change


def section(recipe: Recipe) -> None:
    """The map of the recipe's model, or the way to it."""
    st.subheader("Which part can the model not spare?", anchor=False)
    st.caption(
        "One head, one MLP, one block at a time is taken out of the uncompressed model, or rounded to few bits, and "
        "nothing else. What hurts alone is what a recipe should spare."
    )
    images = state.images()
    found = waiting.result_of(
        (PURPOSE, recipe.model, images),
        lambda report, cancelled: _measure(recipe.model, images, report, cancelled),
        "Measure the sensitivity map", "Under a minute for a bundled model; it is measured once for all recipes.",
    )  # fmt: skip
    if found is not None:
        _shown(found)


def _measure(model: str, images: str | None, report: Report, cancelled: Any) -> Sensitivity:
    from vitedge_core.experiments.sensitivity import sensitivity

    measuring.leave_a_core()
    return sensitivity(model, images, report=report, cancelled=cancelled)


@st.fragment
def _shown(found: Sensitivity) -> None:
    figure = st.segmented_control(
        "Shown", list(FIGURES), default="loss", required=True, format_func=FIGURES.__getitem__,
        key="sensitivity-figure",
    )  # fmt: skip
    cells = {(cell.place, found.changes.index(cell.change)): cell for cell in found.cells}
    names = {place: f"{found.places[cell.place]}, {cell.change.title}" for place, cell in cells.items()}
    if state.widget(PICK) not in cells:
        state.fill(PICK, _advised(cells))
    chosen = state.widget(PICK)
    worst = max(found.cells, key=lambda cell: cell.loss.value)
    quantity.chart(
        heat_map(found, figure, chosen), heat_rows(found), "sensitivity-map",
        f"What {len(found.cells)} single changes cost; worst is {found.places[worst.place]}, {worst.change.title}.",
        on_select=_clicked,
    )  # fmt: skip
    about = (
        f"{FIGURES[figure]} against the untouched model, paired on {found.n:,} images; “≈ 0” is no more than chance. "
        f"Measured in {found.seconds:.0f} s. Click a cell, or choose it below."
    )
    st.caption(" ".join((about, *found.notes)))
    with st.container(border=True):
        st.selectbox("Trial", list(cells), format_func=names.__getitem__, key=PICK)
        _cell(found, cells[state.widget(PICK)])


def _advised(cells: Mapping[Place, Cell]) -> Place | None:
    """The cell to begin with: where few bits hurt most, so that the step beside it is one worth taking."""
    rounded = [place for place, cell in cells.items() if cell.change == Change(BITS, 4)]
    return max(rounded, key=lambda place: cells[place].loss.value, default=next(iter(cells), None))


def _clicked() -> None:
    """A cell of the map was clicked: choose it."""
    event = state.widget("sensitivity-map")
    points = event.selection.points if event else []
    if points and points[0].get("customdata"):
        state.fill(PICK, tuple(points[0]["customdata"]))


def _cell(found: Sensitivity, cell: Cell) -> None:
    """What one trial says, and the step that takes it into the recipe."""
    st.markdown(
        f"**{found.places[cell.place]}, {cell.change.title}**: accuracy {human(cell.drop, signed=True)} "
        f"({interval(cell.drop, signed=True)}), loss {human(cell.loss, signed=True)} "
        f"({interval(cell.loss, signed=True)})."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if found.kind == "block" and cell.step is not None:
            st.button(
                _label(found, cell), key="sensitivity-add", icon=":material/add_circle:", on_click=_add,
                args=(cell.step,),
            )  # fmt: skip
            st.caption(_in_recipe(cell.step))
        elif found.kind == "block":
            st.caption(
                "Heads and MLPs are chosen by the ranking of the pruning methods; add one of them in Build."
                if cell.change.kind != BITS else "8 bits are what spared blocks get."
            )  # fmt: skip
        else:
            st.caption("Only transformer blocks can be spared by name.")
        quantity.source(cell.loss, key="sensitivity-loss", also={"Accuracy": cell.drop, "KL": cell.divergence})


def _label(found: Sensitivity, cell: Cell) -> str:
    name = found.places[cell.place].lower()
    if cell.change.kind == BLOCK:
        return f"Remove {name}"
    return f"Keep {name} at 8 bits"


def _in_recipe(step: Step) -> str:
    knobs = ", ".join(f"{name} = {value}" for name, value in step.params)
    return f"In the recipe: {cache.title_of(step)}, {knobs} (recipes count blocks from 0)."


def _add(step: Step) -> None:
    """Put the step into the recipe: a quantisation that is there already spares one block more."""
    steps = state.steps()
    for number, known in steps:
        if known.technique == step.technique == "uniform_ptq":
            spared = {*str(known.knobs.get("keep", "")).replace(",", " ").split(), str(step.knobs["keep"])}
            keep = ",".join(sorted(spared, key=lambda word: (len(word), word)))
            kept = known.with_knob("keep", keep).with_knob("keep_bits", step.knobs["keep_bits"])
            state.replace_step(number, replace(kept, enabled=True))
            break
    else:
        try:
            state.add_step(step)
        except VitEdgeError as error:
            state.notice(str(error))
            return
    state.notice(f"{cache.title_of(step)} is in the recipe now; the figures on this page follow.")
