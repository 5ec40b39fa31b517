"""Two to six runs side by side: their recipes, small bars with intervals, and a table that marks what differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.run_compare import CHANGE, RATIO, Comparison, Figure, Line, Verdict, compare
from vitedge_core.plots.run_compare import LETTERS, run_bars
from vitedge_core.recipe import Step
from vitedge_core.ui import cache, engine_choice, layout, state, units
from vitedge_core.ui.layout import CHART
from vitedge_core.ui.quantity import badge
from vitedge_core.ui.words import of_recipe

if TYPE_CHECKING:
    from vitedge_core.experiments.run_list import Entry

TITLES = {
    "accuracy": "Accuracy", CHANGE: "Change of accuracy", "macs": "MACs", "params": "Parameters",
    "weight_bytes": "Size on disk", "peak_memory_bytes": "Peak memory",
    "measured_memory_bytes": "Peak memory, measured",
    "latency_seconds": "Latency", RATIO: "Time against uncompressed", "pointing_hits": "Points at the object",
    "attention_on_object": "Attention on the object", "attention_kept": "Attention kept",
}  # fmt: skip
DRAWN = ("accuracy", "macs", "weight_bytes", "peak_memory_bytes", RATIO, "attention_kept")
_SIGNED = (CHANGE,)
_SPECIAL = re.compile(r"([\\`*_\[\]$:<>~#|])")


def open_with(names: Sequence[str]) -> None:
    """Show these runs side by side."""
    state.remember("runs-compared", tuple(names))


def section(chosen: Sequence[Entry]) -> None:
    """The comparison that was asked for last, as long as its runs are there."""
    from vitedge_core.experiments.run_list import entries

    names = state.recall("runs-compared", ())
    if not names:
        return
    known = {entry.name: entry for entry in (*entries(), *chosen)}
    there = [known[name] for name in names if name in known]
    if len(there) < 2:
        open_with(())
        return
    _draw(compare(there))


def _draw(found: Comparison) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("Side by side", anchor=False)
        st.button("Close", key="runs-close", icon=":material/close:", type="tertiary", on_click=open_with, args=((),))
    _cards(found)
    _lines(found)
    _bars(found)
    _figures(found)
    st.caption(" ".join(found.notes))


def _cards(found: Comparison) -> None:
    with st.grid(len(found.entries), min_column_width=170):
        for letter, entry in zip(LETTERS, found.entries, strict=False):
            with st.container(border=True, gap="small"):
                about = f":gray[{datetime.fromtimestamp(entry.run.time, UTC):%Y-%m-%d %H:%M}]"
                tags = " ".join(f":gray-badge[{_literal(tag)}]" for tag in entry.tags)
                marked = badge(Evidence.IMPORTED) if entry.run.imported else ""
                model = _literal(cache.model_title(entry.run.recipe.model))
                st.markdown(f"**{letter}** {model}  \n:small[{about} {marked} {tags}]")
                st.markdown("  \n".join(f":small[{_literal(line)}]" for line in of_recipe(entry.run.recipe)))
                if st.button("Open in Build", key=f"compared-{entry.name}", icon=":material/tune:", type="tertiary"):
                    layout.open_in(entry.run.recipe, "build", engine_choice.key_of(entry.run.engine))


def _bars(found: Comparison) -> None:
    drawn = [figure for name in DRAWN for figure in found.figures if figure.name == name]
    with st.grid(3, min_column_width=280):
        for figure in drawn:
            told = [units.said(value) if value else "not measured" for value in figure.values]
            title = f"{_title(figure.name)}{' ≠' if figure.differs else ''}"
            alt = f"{title}: " + ", ".join(f"{letter} {text}" for letter, text in zip(LETTERS, told, strict=False))
            times, _ = units.axis(next(value.unit for value in figure.values if value))
            chart = run_bars(title, figure.values, told, times, share=figure.name == "accuracy")
            st.plotly_chart(chart, key=f"compared-bars-{figure.name}", alt=alt, config=CHART)


def _figures(found: Comparison) -> None:
    st.markdown("**Figures** :gray[against A; what differs by more than the intervals is marked with ≠]")
    rows = [_figure_row(figure) for figure in found.figures]
    st.table(rows, border="horizontal", hide_index=True, alt="The figures of the compared runs with their intervals.")
    for why in dict.fromkeys(figure.why for figure in found.figures if figure.why):
        st.caption(f"{' and '.join(_title(f.name) for f in found.figures if f.why == why)}: {_literal(why)}")


def _figure_row(figure: Figure) -> dict[str, str]:
    kinds = {value.evidence for value in figure.values if value}
    row = {"Figure": _title(figure.name) + (f"  \n{badge(next(iter(kinds)))}" if len(kinds) == 1 else "")}
    verdicts = (None, *figure.verdicts)
    for letter, value, gap, verdict in zip(LETTERS, figure.values, figure.differences, verdicts, strict=False):
        row[letter] = _cell(value, gap, verdict, signed=figure.name in _SIGNED, marked=len(kinds) > 1)
    return row


def _cell(
    value: Quantity | None, gap: Quantity | None, verdict: Verdict | None, *, signed: bool, marked: bool
) -> str:  # fmt: skip
    if value is None:
        return ":gray[not measured]"
    bounds = "" if value.is_exact else units.bounds(value)
    parts = [f"**{units.said(value, signed=signed)}**", f":small[:gray[{bounds}]]" if bounds else ""]
    parts.append(badge(value.evidence) if marked else "")
    if verdict is Verdict.LARGER and gap is not None:
        parts[0] = f":orange-background[≠ {parts[0]}]"
        parts.append(f":small[{units.said(gap, signed=True)}]")
    elif verdict is not None:
        parts.append(f":small[:gray[{verdict}]]")
    return "  \n".join(filter(None, parts))


def _lines(found: Comparison) -> None:
    every = st.toggle("Also what is the same", key="compared-all", persist_state="session")
    lines = [line for line in (*found.recipe, *found.about) if every or line.differs]
    if not lines:
        st.caption("Recipe and circumstances are the same: these runs are repetitions.")
        return
    st.markdown("**Recipe and circumstances**" if every else "**What differs in recipe and circumstances**")
    st.table([_line_row(line) for line in lines], border="horizontal", hide_index=True,
             alt="Knobs of the recipes and circumstances of the compared runs.")  # fmt: skip


def _line_row(line: Line) -> dict[str, Any]:
    title = line.title
    if line.technique:
        title = f"{cache.title_of(Step(line.technique))}: {cache.labels_of(line.technique).get(title, title)}"
    row = {"": _literal(title.removesuffix(": "))}
    for letter, text in zip(LETTERS, line.cells, strict=False):
        same = not line.differs or text == line.cells[0]
        row[letter] = _literal(text) if same else f":orange-background[≠ {_literal(text)}]"
    return row


def _title(name: str) -> str:
    return units.operations() if name == "macs" else TITLES.get(name, name)


def _literal(text: str) -> str:
    """A text of anybody's, so that markdown shows it as it is."""
    return _SPECIAL.sub(r"\\\1", text)
