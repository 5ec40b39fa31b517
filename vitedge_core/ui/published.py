"""Published results to browse: nothing of one's own is needed. Only like stands beside like."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from vitedge_core.evidence import Evidence
from vitedge_core.plots.pareto import Axis
from vitedge_core.plots.published import Printed
from vitedge_core.published.results import FAMILIES, MacsKind, Result, comparable, datasets, results
from vitedge_core.text.human import human
from vitedge_core.text.sources import MACS_KINDS
from vitedge_core.ui import layout, quantity, saving

COSTS = {
    "macs": ("MACs", Axis("MACs of one image")),
    "params": ("Parameters", Axis("Parameters")),
    "weight_bytes": ("Size of weights", Axis("Size of the weights: parameters times their bits", "B")),
    "bits_w": ("Bits of weights", Axis("Bits of a weight", format="d")),
}
FEW = 20  # of so many results, one may lie below the picture
ROUNDED, UNROUNDED = "quantisation", ("macs", "params")  # a family, and the costs that it does not change


def browse() -> None:
    """Filters, chart, table and files of the published results."""
    rows, cost, dataset = _choose()
    if not rows:
        layout.empty("filter_alt_off", "No published result fits these filters. Take one of them away.")
        return
    front = _front(rows, cost)
    marks = [_mark(row, cost, on_front=on) for row, on in zip(rows, front, strict=True)]
    from vitedge_core.plots.published import published

    name, axis = COSTS[cost]
    floor = _floor([mark.value for mark in marks])
    figure = published(marks, FAMILIES, axis, spread=cost != "bits_w", floor=floor)
    best = max(rows, key=lambda row: row.value or 0)
    alt = (
        f"Published top-1 accuracy on {dataset} against {name} of {len(rows)} results; the best is {best.model}, "
        f"{_said(best, 'value')}."
    )
    table = [_row(row, cost) for row in rows]
    quantity.chart(figure, table, f"published-{cost}", alt, config=saving.camera("published"))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        quantity.note(*_told(rows, cost, _below(marks, floor)))
        saving.save("published", figure, f"Published accuracy on {dataset} against {name}", alt,
                    (f"{len(rows)} results (CSV)", lambda: _csv(table)))  # fmt: skip


def _choose() -> tuple[tuple[Result, ...], str, str]:
    """The results to show, their cost and their data set."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        cost = st.segmented_control(
            "Cost", list(COSTS), default="macs", required=True, format_func=lambda key: COSTS[key][0],
            key="published-cost", persist_state="session",
        )  # fmt: skip
        dataset = st.selectbox("Images", datasets(results()), key="published-images", persist_state="session",
                               width=260, help="Accuracies on different images cannot be compared.")  # fmt: skip
        rows = _filtered(comparable(dataset, cost, _kind(cost, dataset)), cost)
    return rows, cost, dataset


def _filtered(rows: Sequence[Result], cost: str) -> tuple[Result, ...]:
    """Some of the results; choices of models and methods are those of the chosen families."""
    present = [name for name in FAMILIES if any(row.family == name for row in rows)]
    with st.popover("Filter", icon=":material/filter_alt:", key="published-filter"):
        families = st.multiselect(
            "Families", present, key="published-families", persist_state="session",
            placeholder=f"all but {ROUNDED}" if cost in UNROUNDED else "all",
        ) or _usual(present, cost)  # fmt: skip
        rows = tuple(row for row in rows if row.family in families)
        models = _some("Models", sorted({row.model for row in rows}))
        methods = _some("Methods", sorted({row.method for row in rows}))
        unchecked = st.toggle(
            "Unchecked figures too", key="published-unchecked", persist_state="session",
            help="Figures that were recalled or taken from somebody's notes, not read in their source.",
        )  # fmt: skip
    return tuple(
        row for row in rows
        if row.model in models and row.method in methods and (row.checked or unchecked)
    )  # fmt: skip


def _usual(present: Sequence[str], cost: str) -> Sequence[str]:
    """The families shown while none is chosen: over MACs or parameters, fewer bits would only stand in columns."""
    return [name for name in present if name != ROUNDED or cost not in UNROUNDED] or present


def _kind(cost: str, dataset: str) -> MacsKind:
    """How the MACs are to be counted; only ways that this data set has results of."""
    kinds = [kind for kind in MacsKind if comparable(dataset, cost, kind)]
    if cost != "macs":
        kinds = [kind for kind in (MacsKind.WITH, MacsKind.SPARSE) if kind in kinds]
    dense = "zeros counted" if cost != "macs" else MacsKind.WITH.value
    return st.selectbox(
        "Counted", kinds, key=f"published-kind-{cost}-{dataset}", disabled=len(kinds) < 2, width=210,
        format_func=lambda kind: dense if kind is MacsKind.WITH else str(kind.value), help=MACS_KINDS,
    )  # fmt: skip


def _some(label: str, options: Sequence[str]) -> Sequence[str]:
    return st.multiselect(label, options, key=f"published-{label}", placeholder="all") or options


def _front(rows: Sequence[Result], cost: str) -> tuple[bool, ...]:
    from vitedge_core.experiments.pareto import front

    return front([(getattr(row, cost), -(row.value or 0)) for row in rows])


def _floor(values: Sequence[float]) -> float | None:
    """Where the picture begins, so that a few results near zero do not press the rest together; None to show all."""
    low = sorted(values)[len(values) // FEW]
    return low - 0.05 if low - min(values) > 0.2 else None


def _below(marks: Sequence[Printed], floor: float | None) -> str:
    hidden = sum(mark.value < floor for mark in marks) if floor is not None else 0
    return f"{hidden} results lie below the picture: a double click on the chart shows them. " if hidden else ""


def _said(row: Result, axis: str) -> str:
    figure = row.quantity(axis)
    return human(figure) if figure is not None else "not printed"


def _mark(row: Result, cost: str, *, on_front: bool) -> Printed:
    lines = [f"<b>{escape(row.model)}</b>", escape(f"{row.method} ({row.family})"), *_folded(row.setting), "",
             f"Top-1: {_said(row, 'value')}{_from(row)}"]  # fmt: skip
    lines += [f"{COSTS[axis][0]}: {_said(row, axis)}" for axis in dict.fromkeys((cost, "params", "macs"))
              if getattr(row, axis) is not None]  # fmt: skip
    lines += [f"Bits: {row.bits_w} (weights), {row.bits_a} (activations)"] if row.bits_w and row.bits_w < 32 else []
    lines += _folded(f"Source: {row.source}{'' if row.checked else ', not checked'}")
    return Printed(row.family, getattr(row, cost), row.value or 0.0, "<br>".join(lines), on_front, row.checked)


def _folded(text: str) -> list[str]:
    return [escape(line) for line in textwrap.wrap(text, 70)]


def _from(row: Result) -> str:
    return f" (uncompressed {_said(row, 'baseline')})" if row.baseline is not None else ""


def _row(row: Result, cost: str) -> dict[str, Any]:
    return {
        "Family": row.family, "Method": row.method, "Model": row.model, "Top-1": _said(row, "value"),
        "Uncompressed": _said(row, "baseline") if row.baseline is not None else "",
        COSTS[cost][0]: _said(row, cost), "Bits w": row.bits_w, "Bits a": row.bits_a, "Setting": row.setting,
        "MACs counted": row.macs_kind.value if row.macs_kind else "", "Told by": row.told_by, "Source": row.source,
        "Checked": row.checked,
    }  # fmt: skip


def _told(rows: Sequence[Result], cost: str, below: str) -> list[str | Evidence]:
    """What the chart rests on, for a note."""
    computed = cost == "weight_bytes"
    badges = [Evidence.PUBLISHED, *(["size", Evidence.PREDICTED] if computed else [])]
    parts = [f"{len(rows)} results from {len({row.source for row in rows})} sources, each told in its hover."]
    if cost in UNROUNDED:
        parts.append(f"Fewer bits change neither MACs nor parameters, so {ROUNDED} is shown only where it is chosen.")
    if computed:
        parts.append("Sizes are arithmetic on the printed parameters and bits; real files keep some layers wider.")
    if any(not row.checked for row in rows):
        parts.append("Open marks were not checked against their source.")
    parts.append("Training differs too: some networks saw more images than the data set named here. Hardly any source "
                 "prints an interval, so differences of a tenth of a point mean little.")  # fmt: skip
    return [below.strip(), *badges, " ".join(parts)]


def _csv(table: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]))
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()
