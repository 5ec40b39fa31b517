"""Where the costs of a recipe are, by kind or by block, and what its weights take in each form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.plots.build import Pair, spoken
from vitedge_core.plots.costs import Bar, part_bars, size_bars
from vitedge_core.text.human import change
from vitedge_core.ui import quantity, units

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.report import Cost, Part
    from vitedge_core.plan import Plan

VIEWS = {"by_kind": "By kind of operation", "by_block": "By block"}
INTENSITY = (
    "Intensity says how much is multiplied for each byte that is moved. Where it is lower than a chip's own ratio of "
    "operations to bandwidth, the layer waits for memory. Bytes read and written are activations; the weights are read "
    "once for the whole batch."
)
FORMS = {
    "dense_bytes": ("Dense, float32", "every parameter as a number of 32 bits, zeros included"),
    "weight_bytes": ("File that is written", "integers at their bits, scales and zero points, the rest in float32"),
    "theoretical_bytes": (
        "Sparse rows (theoretical)", "values that are not zero with a column number for each, where smaller",
    ),
    "two_of_four_bytes": (
        "2:4 format (theoretical)", "half of the values, two bits for the place of each; needs two zeros in every four",
    ),
}  # fmt: skip


def spent(before: Cost, after: Cost) -> None:
    """Chart and table of one figure, by kind or by block."""
    names = {
        "macs": (units.operations(), "MAC"), "params": ("Parameters", "parameter"), "weight_bytes": ("Weights", "byte"),
        "read_bytes": ("Read", "byte"), "written_bytes": ("Written", "byte"),
        "intensity": ("Intensity", "MAC per byte"),
    }  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        view = st.segmented_control(
            "Split", list(VIEWS), default="by_kind", required=True, format_func=lambda key: VIEWS[key],
            key="costs-view", persist_state="session", label_visibility="collapsed",
        )  # fmt: skip
        name = st.segmented_control(
            "Figure", list(names), default="macs", required=True, format_func=lambda key: names[key][0],
            key="costs-figure", persist_state="session", label_visibility="collapsed",
        )  # fmt: skip
    title, counted = names[name]
    times, unit = units.axis(counted)
    old, new = getattr(before, view), getattr(after, view)
    rows = [row._replace(before=times * row.before, after=times * row.after) for row in _pairs(old, new, name)]
    alt = f"{title} {VIEWS[view].lower()}, baseline beside compressed; {len(rows)} bars each."
    quantity.chart(part_bars(rows, unit), table(old, new), f"costs-{view}-{name}", alt)
    st.caption(INTENSITY)


def _pairs(old: Sequence[Part], new: Sequence[Part], name: str) -> list[Pair]:
    was = {part.label: getattr(part, name) for part in old}
    now = {part.label: getattr(part, name) for part in new}
    rows = [Pair(spoken(label), was.get(label, 0), now.get(label, 0)) for label in {**was, **now}]
    return [row for row in rows if row.before or row.after]


def table(old: Sequence[Part], new: Sequence[Part]) -> list[dict[str, Any]]:
    """All figures of all parts: a line for the baseline's and one for the compressed model's."""
    sides = {"baseline": {part.label: part for part in old}, "compressed": {part.label: part for part in new}}
    labels = list(dict.fromkeys(label for parts in sides.values() for label in parts))
    return [
        {"part": spoken(label), "model": side, **_row(parts[label])}
        for label in labels for side, parts in sides.items() if label in parts
    ]  # fmt: skip


def _row(part: Part) -> dict[str, Any]:
    sizes = {"weights": part.weight_bytes, "read": part.read_bytes, "written": part.written_bytes}
    return {
        units.operations(): units.counted(part.macs, "MAC"),
        "parameters": units.counted(part.params, "parameter"),
        **{name: units.counted(value, "byte") for name, value in sizes.items()},
        "MAC per byte": round(part.intensity, 1),
    }


def sizes(planned: Planned, before: Cost, after: Cost) -> None:
    """The weights in each form: what is written, and what only a format for zeros would take."""
    bars = [
        Bar(title, getattr(after, name).value, units.said(getattr(after, name)), theoretical="theoretical" in title)
        for name, (title, _) in FORMS.items()
    ]  # fmt: skip
    rows = [
        {"Form": title, "Baseline": units.said(getattr(before, name)), "Compressed": units.said(getattr(after, name)),
         "Change": change(getattr(before, name), getattr(after, name)), "What it is": meaning}
        for name, (title, meaning) in FORMS.items()
    ]  # fmt: skip
    alt = "Size of the compressed weights as " + ", ".join(f"{bar.label}: {bar.text}" for bar in bars) + "."
    chart, told = st.columns([3, 2], gap="large")
    with chart:
        quantity.chart(size_bars(bars, before.weight_bytes.value), rows, "costs-sizes", alt)
    with told:
        for name, (title, meaning) in FORMS.items():
            with st.container(gap=None):
                st.markdown(f"**{title}**: {units.said(getattr(after, name))}")
                st.caption(f"{meaning[0].upper()}{meaning[1:]}.")
                quantity.source(getattr(after, name), getattr(before, name), key=f"costs-{name}")
    if planned.last.zeros:
        st.info(_told_of_zeros(planned.last), icon=":material/grid_off:")


def _told_of_zeros(plan: Plan) -> str:
    """That zeros are kept and multiplied, and whether they lie as the 2:4 format wants them."""
    from vitedge_core.cost.sizes import TWO_OF_FOUR, half_empty, pattern_of

    share = plan.zeros / max(1, sum(op.weights for op in plan.ops))
    said = (
        f"{share:.0%} of the weights are zero. The file keeps all of them, and an ordinary kernel multiplies by each; "
        "the hatched forms say what formats made for zeros would take."
    )
    if not half_empty(plan):
        return f"{said} No matrix has half of its weights zero, so the 2:4 format could hold none."
    if pattern_of(plan) == TWO_OF_FOUR:
        return f"{said} They lie as the 2:4 format wants them."
    return (
        f"{said} These zeros lie anywhere, so the 2:4 format cannot hold them: its bar is for a model that is pruned "
        "anew, to two zeros in every four weights of a row."
    )
