"""The list of runs: filters above, a table to choose from, and what can be done with the chosen ones below."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.text.human import interval, megabytes
from vitedge_core.ui import cache, engine_choice, layout, run_compare, state
from vitedge_core.ui.words import of_recipe

if TYPE_CHECKING:
    from vitedge_core.experiments.run_list import Entry

DAY = 86_400
SINCE = {"Any time": None, "Last hour": DAY / 24, "Last day": DAY, "Last week": 7 * DAY, "Last month": 30 * DAY}
KINDS = {"json": ("JSON", "application/json"), "csv": ("CSV", "text/csv"), "parquet": ("Parquet", None)}
_LABELS = {"models": "Models", "techniques": "Methods", "images": "Images", "origins": "Measured by",
           "engines": "Engines", "tags": "Tags"}  # fmt: skip


def section() -> tuple[Entry, ...]:
    """Filters, table and buttons; returns the chosen runs."""
    from vitedge_core.experiments.run_list import entries

    known = entries()
    _undo()
    if not known:
        layout.empty("list_alt", "No run is kept yet. Measure a recipe in Build, sweep its knobs in Pareto, "
                     "or import runs below.")  # fmt: skip
        return ()
    shown = _filtered(known)
    chosen = _table(shown, len(known))
    _actions(shown, chosen, known)
    return chosen


def _filtered(known: Sequence[Entry]) -> list[Entry]:
    from vitedge_core.experiments.run_list import Filter

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        words = st.text_input(
            "Find", key="runs-words", placeholder="small tome paper", persist_state="session", width=200,
            help="Words that all stand somewhere in a run: model, method, knob, images, machine, tag, note.",
        )  # fmt: skip
        since = st.selectbox("Measured", list(SINCE), key="runs-since", persist_state="session", width=130)
        models, techniques, images, origins, engines, tags = (_wish(name, known) for name in _LABELS)
    seconds = SINCE[since]
    wished = Filter(models, techniques, images, origins, engines, tags, words, seconds and time.time() - seconds)
    return list(filter(wished, known))


def _wish(name: str, known: Sequence[Entry]) -> list[str]:
    """What is chosen of a filter; it is drawn only where there is something to choose from."""
    options = _options(name, known)
    if len(options) < (1 if name == "tags" else 2):
        return []
    return st.multiselect(
        _LABELS[name], list(options), format_func=lambda key: options.get(key, str(key)), key=f"runs-{name}",
        placeholder="all", persist_state="session", width=180,
    )  # fmt: skip


def _options(name: str, known: Sequence[Entry]) -> dict[str, str]:
    """Values of a filter with what they are called."""
    if name == "techniques":
        steps = {step.technique: step for entry in known for step in entry.run.recipe.active}
        return {key: cache.title_of(steps[key]) for key in sorted(steps)}
    if name == "models":
        return {model: cache.model_title(model) for model in sorted({entry.run.recipe.model for entry in known})}
    if name == "images":
        return {entry.run.evaluation.digest: entry.run.title for entry in known}
    says: dict[str, Callable[[Entry], Iterable[str]]] = {
        "origins": lambda entry: entry.origins,
        "engines": lambda entry: (entry.run.engine,),
        "tags": lambda entry: entry.tags,
    }
    return {value: value for value in sorted({value for entry in known for value in says[name](entry)})}


def _table(shown: Sequence[Entry], known: int) -> tuple[Entry, ...]:
    if not shown:
        layout.empty("filter_alt_off", f"None of the {known:,} runs fits: take a filter away.")
        return ()
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    names = tuple(entry.name for entry in shown)
    picked = st.dataframe(
        [_row(entry) for entry in shown], hide_index=True, on_select="rerun", selection_mode="multi-row",
        key=f"runs-table-{hash(names)}",  # other rows are another table: a choice never slips to another run
        alt=f"{len(shown)} measured runs with recipe, accuracy, costs and circumstances.",
        height=440 if len(shown) > 10 else "content",
        column_config={
            "Measured": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", help="UTC."),
            "Recipe": text(width=370), "Accuracy, %": number(format="%.1f"),
            "95 % interval": text(width=120, help="Of the accuracy."),
            "MMAC": number(format="%.1f", help="Millions of multiply-accumulate operations for one image."),
            "MB": number(format="%.2f", help="Size of the weights file."),
            "Time ×": number(format="%.3f", help="Latency as a share of the uncompressed model's, timed in turns."),
            "Evidence": text(help="Of the accuracy."),
            "Run": text(help="Its name, the same in every store and on the command line."),
        },
    )  # fmt: skip
    chosen = tuple(shown[row] for row in picked.selection.rows if row < len(shown))
    listed = f"{len(shown):,} runs" if len(shown) == known else f"{len(shown):,} of {known:,} runs"
    st.caption(f"{listed}, {len(chosen)} chosen. Tick rows to choose them; a click on a column's head sorts.")
    return chosen


def _row(entry: Entry) -> dict[str, Any]:
    run = entry.run
    figures, ratio = run.evaluation.compressed, run.evaluation.ratio
    size, accuracy = figures.get("weight_bytes"), figures["accuracy"]
    return {
        "Measured": datetime.fromtimestamp(run.time, UTC), "Model": cache.model_title(run.recipe.model),
        "Recipe": "; ".join(of_recipe(run.recipe)), "Accuracy, %": 100 * accuracy.value,
        "95 % interval": interval(accuracy), "MMAC": figures["macs"].value / 1e6, "MB": size and megabytes(size),
        "Time ×": ratio and ratio.value, "Tags": ", ".join(entry.tags), "Images": run.evaluation.n,
        "Image set": run.title, "Measured by": run.origin, "Engine": run.engine,
        "Evidence": accuracy.evidence.value, "Run": entry.name,
    }  # fmt: skip


def _actions(shown: Sequence[Entry], chosen: Sequence[Entry], known: Sequence[Entry]) -> None:
    from vitedge_core.experiments.run_compare import FEWEST, MOST

    names = tuple(entry.name for entry in chosen)
    with st.container(horizontal=True, gap="small"):
        if st.button("Open in Build", key="runs-open", icon=":material/tune:", disabled=len(chosen) != 1,
                     help="Choose one run."):  # fmt: skip
            layout.open_in(chosen[0].run.recipe, "build", engine_choice.key_of(chosen[0].run.engine))
        st.button(
            "Compare", key="runs-compare", icon=":material/compare_arrows:", type="primary",
            disabled=not FEWEST <= len(chosen) <= MOST, help=f"Choose {FEWEST} to {MOST} runs.",
            on_click=run_compare.open_with, args=(names,),
        )  # fmt: skip
        _tagging(chosen, known)
        _export(chosen or shown, all_shown=not chosen)
        st.button(
            "Delete", key="runs-delete", icon=":material/delete:", disabled=not chosen, on_click=_delete,
            args=(names,), help="Deleted runs are hidden everywhere and can be brought back: they stay in the store, "
            "with their few kilobytes each.",
        )  # fmt: skip


def _tagging(chosen: Sequence[Entry], known: Sequence[Entry]) -> None:
    place = st.popover("Tag", icon=":material/sell:", key="runs-tag", disabled=not chosen, on_change="rerun")
    if not (place.open and chosen):
        return
    common = sorted(set.intersection(*(set(entry.tags) for entry in chosen)))
    every = sorted({tag for entry in known for tag in entry.tags})
    key = f"runs-tags-{hash(tuple(entry.name for entry in chosen))}"
    with place, st.form(f"{key}-form", border=False):
        st.multiselect(
            f"Tags of {_runs(len(chosen))}", every, default=common, accept_new_options=True, key=key,
            placeholder="type a tag", help="Tags that only some of the chosen runs have stay with them.",
        )  # fmt: skip
        st.form_submit_button("Save", icon=":material/check:", on_click=_tag, args=(key, chosen, common))


def _tag(key: str, chosen: Sequence[Entry], common: Sequence[str]) -> None:
    from vitedge_core.experiments import run_notes

    wanted = set(state.widget(key) or ())
    with _told():
        run_notes.tag([entry.name for entry in chosen], wanted - set(common), set(common) - wanted)


def _export(listed: Sequence[Entry], *, all_shown: bool) -> None:
    from vitedge_core.experiments.run_files import WRITERS

    place = st.popover("Export", icon=":material/download:", key="runs-export", disabled=not listed, on_change="rerun")
    if not place.open:
        return
    with place:
        st.caption(f"{'All that are listed' if all_shown else 'The chosen ones'}: {_runs(len(listed))}. Each file "
                   "holds whole runs and can be imported again.")  # fmt: skip
        for kind, (title, mime) in KINDS.items():
            st.download_button(
                title, lambda write=WRITERS[kind]: write(listed), f"vitedge-runs.{kind}", mime, key=f"runs-as-{kind}",
                icon=":material/description:", on_click="ignore", width="stretch",
            )  # fmt: skip


def _delete(names: Sequence[str]) -> None:
    from vitedge_core.experiments import run_notes

    with _told():
        run_notes.delete(names)
        st.toast(f"Deleted: {_runs(len(names))}. “Undo” above the list brings them back.", icon=":material/delete:")


def _undo() -> None:
    """The way back from the last deletion, as long as there is one."""
    from vitedge_core.experiments.run_notes import notes

    last = notes().last
    if last:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":gray[:material/delete: Deleted last: {_runs(len(last))}.]", width="content")
            st.button("Undo", key="runs-undo", icon=":material/undo:", type="tertiary", on_click=_bring_back)


def _bring_back() -> None:
    from vitedge_core.experiments import run_notes

    with _told():
        st.toast(f"Brought back: {_runs(len(run_notes.undo()))}.", icon=":material/undo:")


@contextmanager
def _told() -> Iterator[None]:
    """Within a callback: a problem becomes a sentence at the top of the page."""
    try:
        yield
    except VitEdgeError as error:
        state.notice(str(error))


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
