"""How costs grow with the input: this recipe by kind of work, and kinds of attention side by side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from vitedge_core.plan import Kind
from vitedge_core.plots.costs import Curve, growth_curves
from vitedge_core.recipe import Recipe
from vitedge_core.ui import layout, quantity, state, units

if TYPE_CHECKING:
    from vitedge_core.cost.scaling import Size
    from vitedge_core.experiments.scaling import Scaling

T = TypeVar("T")
MINE, KINDS = "This recipe", "Kinds of attention"
PATIENCE = 0.4  # seconds before progress is shown
GLOBAL = (
    "With N tokens, projections and the MLP do work that grows like N, and global attention like N²: twice the pixels "
    "a side are four times the tokens and sixteen times the products inside attention."
)
FORMS = (
    "Only the products inside attention are compared. Global attention and attention over merged keys grow like N², "
    "the latter from a level up to 64 times lower; windows, a fixed number of pooled keys, and linear attention grow "
    "like N."
)


def scaling(recipe: Recipe, batch: int) -> None:
    """Everything of the section: the choice, the chart, what it says."""
    chosen = st.segmented_control(
        "Curves", [MINE, KINDS], default=MINE, required=True, key="costs-curves", persist_state="session",
        label_visibility="collapsed",
    )  # fmt: skip
    if chosen == MINE:
        _mine(recipe, batch)
    else:
        _attentions()


def _mine(recipe: Recipe, batch: int) -> None:
    from vitedge_core.cost.scaling import growth, kinds
    from vitedge_core.experiments.scaling import scaling as traced

    found = _awaited(f"{recipe.digest} {batch}", lambda report: traced(recipe, batch=batch, report=report))
    if found is None:
        return
    times, unit = units.axis("MAC")
    shown = [kind for kind in kinds(found.sizes) if kind != Kind.HEAD]
    powers = {kind: growth(found.sizes, kind) for kind in shown}
    curves = [
        _curve(_called(kind, powers[kind]), found, [times * size.macs(kind) for size in found.sizes]) for kind in shown
    ]
    total = growth(found.sizes)
    alt = (
        f"{units.operations()} of each kind against the side of the image, {found.sizes[0].side} to "
        f"{found.sizes[-1].side} pixels; all together grow with the number of pixels to the power of {_power(total)}."
    )
    quantity.chart(growth_curves(curves, unit), _rows(found), "costs-scaling", alt)
    st.caption(f"{alt} {GLOBAL}")
    for sentence in found.problems.values():
        st.caption(f":material/block: {sentence}")


def _attentions() -> None:
    from vitedge_core.cost.scaling import growth
    from vitedge_core.experiments.scaling import ATTENTIONS, attentions

    found = _awaited("attentions", lambda report: attentions(report=report))
    if found is None:
        return
    products = Kind.ATTENTION.value
    times, unit = units.axis("MAC")
    curves = [
        _curve(f"{model} (power {_power(growth(each.sizes, products))})", each,
               [times * size.macs(products) for size in each.sizes])
        for model, each in found.items()
    ]  # fmt: skip
    rows = [
        {"model": model, "attention": ATTENTIONS[model], "pixels a side": size.side, "tokens": size.tokens,
         "inside attention": units.counted(size.macs(products), "MAC"), "all": units.said(size.cost.macs)}
        for model, each in found.items() for size in each.sizes
    ]  # fmt: skip
    alt = f"{units.operations()} inside attention of {len(found)} models against the side of the image."
    quantity.chart(growth_curves(curves, f"{unit} inside attention"), rows, "costs-attentions", alt)
    st.markdown("\n".join(f"- `{model}`, {ATTENTIONS[model]}" for model in found))
    st.caption(FORMS)


def _curve(name: str, found: Scaling, values: list[float]) -> Curve:
    unit = units.axis("MAC")[0]
    return Curve(
        name, [size.side for size in found.sizes], values, [units.counted(value / unit, "MAC") for value in values]
    )


def _rows(found: Scaling) -> list[dict[str, Any]]:
    from vitedge_core.cost.scaling import kinds

    shown = kinds(found.sizes)
    return [_row(size, shown) for size in found.sizes]


def _row(size: Size, shown: list[str]) -> dict[str, Any]:
    return {
        "pixels a side": size.side, "tokens": size.tokens, "all": units.said(size.cost.macs),
        "peak memory": units.said(size.cost.peak_memory_bytes),
        **{kind: units.counted(size.macs(kind), "MAC") for kind in shown},
    }  # fmt: skip


def _called(kind: str, power: float | None) -> str:
    return f"{kind} (power {_power(power)})"


def _power(power: float | None) -> str:
    return "none" if power is None else f"{power:.2f}"


def _awaited(key: str, work: Callable[[Callable[[float, str], None]], T]) -> T | None:
    """The result, with progress and a way out when it takes a while; None when it was cancelled.

    What is counted once is remembered by the core, so that a later run, or one after a cancelled one, is quick.
    """
    if state.recall("curves-cancelled") == key:
        layout.empty("pause_circle", "Cancelled.")
        st.button("Draw them", key="curves-again", icon=":material/play_circle:", on_click=_forget)
        return None
    place, bars, start = st.empty(), [], time.monotonic()

    def report(share: float, sentence: str) -> None:
        if time.monotonic() - start < PATIENCE:
            return
        if not bars:
            with place.container(border=True):
                bars.append(st.progress(share))
                st.button("Cancel", key="curves-cancel", icon=":material/stop_circle:", type="tertiary",
                          on_click=state.remember, args=("curves-cancelled", key))  # fmt: skip
        bars[0].progress(share, text=f"Counting {sentence}")

    result = work(report)
    place.empty()
    return result


def _forget() -> None:
    state.remember("curves-cancelled", None)
