"""A number on a page: its value, how it compares, how it is known; and a chart with the table that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.human import change
from vitedge_core.ui.layout import CHART
from vitedge_core.ui.units import bounds as bounds_of
from vitedge_core.ui.units import said

if TYPE_CHECKING:
    import plotly.graph_objects as go

BADGES = {
    Evidence.MEASURED: ("green", "straighten"),
    Evidence.PREDICTED: ("orange", "insights"),
    Evidence.PUBLISHED: ("blue", "menu_book"),
    Evidence.IMPORTED: ("gray", "upload_file"),
    Evidence.SIMULATED: ("violet", "science"),
}
MEANING = {
    Evidence.MEASURED: "counted or timed here, on the real model",
    Evidence.PREDICTED: "computed by a model of ours that can be wrong",
    Evidence.PUBLISHED: "taken from a paper or a repository",
    Evidence.IMPORTED: "measured elsewhere, as an imported file with runs says; not checked here",
    Evidence.SIMULATED: "what it would be if the hardware existed for it",
}


def badge(evidence: Evidence) -> str:
    """The badge of a kind of evidence, as markdown for any label."""
    colour, icon = BADGES[evidence]
    return f":{colour}-badge[:material/{icon}: {evidence.value}]"


def note(*parts: str | Evidence) -> None:
    """A quiet line under figures. In a caption badges would fade with the words; here only the words are grey."""
    told = (badge(part) if isinstance(part, Evidence) else f":gray[{_whole(part)}]" for part in parts if part)
    st.markdown(f":small[{' '.join(told)}]")


def _whole(text: str) -> str:
    """A text whose brackets do not end the colour around it."""
    return text.replace("[", r"\[").replace("]", r"\]")


def provenance(quantity: Quantity) -> str:
    """What a number rests on, as markdown: the kind of evidence, its interval, its source."""
    lines = [f"**{said(quantity)}** {badge(quantity.evidence)}", f"{MEANING[quantity.evidence].capitalize()}."]
    bounds = bounds_of(quantity)
    if quantity.is_exact:
        lines.append("An exact count: no interval.")
    elif bounds:
        lines.append(f"95 % interval: {bounds}.")
    lines.append(f"Source: {quantity.source}")
    return "\n\n".join(lines)


def metric(
    label: str,
    quantity: Quantity,
    baseline: Quantity | None = None,
    *,
    key: str,
    higher_is_better: bool = False,
    icon: str | None = None,
    difference: Quantity | None = None,
    help: str | None = None,
) -> None:
    """A card with the value, the change from the baseline, the evidence badge, and where it comes from on a click.

    Args:
        difference: The paired difference from the baseline, where there is one; else the values are compared.
    """
    with st.container(border=True, height="stretch", gap="small"):
        draw_metric(label, quantity, baseline, higher_is_better=higher_is_better, icon=icon,
                    difference=difference, help=help)  # fmt: skip
        source(quantity, baseline, key=key, also={"Difference from the baseline": difference} if difference else {})


def draw_metric(
    label: str,
    quantity: Quantity,
    baseline: Quantity | None,
    *,
    higher_is_better: bool,
    icon: str | None = None,
    difference: Quantity | None = None,
    clear: bool = True,
    help: str | None = None,
) -> None:
    """The value and its change, without a card around it; a change that is not `clear` of chance gets no colour."""
    if baseline is None:
        st.metric(label, said(quantity), icon=icon, help=help)
        return
    moved = difference.value if difference is not None else quantity.value - baseline.value
    text = said(difference, signed=True) if difference is not None else change(baseline, quantity)
    good = (moved > 0) == higher_is_better
    st.metric(
        label,
        said(quantity),
        delta=text if moved else "no change",
        delta_color=("green" if good else "red") if moved and clear else "off",
        delta_arrow=("up" if moved > 0 else "down") if moved else "off",
        delta_description=f"from {said(baseline)}",
        icon=icon,
        help=help,
    )


def source(
    quantity: Quantity, baseline: Quantity | None = None, *, key: str, also: Mapping[str, Quantity] | None = None
) -> None:
    """The evidence badge and the interval; it opens to say where the number, and what belongs to it, comes from."""
    bounds = "" if quantity.is_exact else bounds_of(quantity)
    label = badge(quantity.evidence) + (f" :small[{bounds}]" if bounds else "")
    named = {**(also or {}), **({"Baseline": baseline} if baseline is not None else {})}
    with st.popover(label, type="tertiary", key=f"source-{key}"):
        parts = [provenance(quantity), *[f"{name}: {provenance(known)}" for name, known in named.items()]]
        st.markdown("\n\n---\n\n".join(parts))


Table = Sequence[Mapping[str, Any]] | Callable[[], Sequence[Mapping[str, Any]]]


def chart(
    figure: go.Figure, table: Table, key: str, alt: str, *, on_select: Any = "ignore",
    config: Mapping[str, Any] | None = None,
) -> Any:  # fmt: skip
    """A figure and, behind an expander, the same numbers as a table. Returns what was selected in the figure.

    Args:
        table: The rows, or what makes them: it is asked only when somebody opens the table.
        config: What Plotly is told beside the usual.
    """
    picked = st.plotly_chart(figure, key=key, alt=alt, config={**CHART, **(config or {})}, on_select=on_select)
    twin(table, key, alt)
    return picked


def twin(table: Table, key: str, alt: str) -> None:
    """The table that says what a chart says; drawn only when opened."""
    opened = st.expander("The same as a table", key=f"{key}-table", on_change="rerun", icon=":material/table_rows:")
    if opened.open:
        opened.dataframe(
            list(table() if callable(table) else table), hide_index=True, key=f"{key}-rows", alt=f"Table: {alt}"
        )
