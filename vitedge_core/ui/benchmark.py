"""The Benchmark page: what to time, the timing in the background, and what it found."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.backends import ENGINES
from vitedge_core.experiments.bench import SECONDS, USUAL, Request, bench, known
from vitedge_core.experiments.bench_rows import Setting
from vitedge_core.plots import benchmark as figures
from vitedge_core.ui import cache, layout, quantity, state, waiting
from vitedge_core.ui.words import of_recipe

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.experiments.bench_rows import BenchRow
    from vitedge_core.recipe import Recipe

PURPOSE = "benchmark"
ANSWERS = {0: "none", 200: "200", 1_000: "1,000", -1: "all"}
BATCHES = (1, 8, 32)
_RUNTIMES = ("torch", "torchao", "onnxruntime", "openvino", "nncf")
_RECENT = 8  # runs of the model that are offered
_WHY = (
    "Each engine is built once, then all are timed in turn with the uncompressed model in eager PyTorch: some seconds "
    "an engine, and up to a minute where it compiles or calibrates."
)
_TITLES = {one.key: one.title for one in ENGINES}


def choice(planned: Planned) -> Request | None:
    """What to time; None while something is missing, which is said."""
    recipes = _recipes(planned.runnable)
    installed = [one for one in ENGINES if one.missing() is None]
    with st.container(border=True):
        keys = st.multiselect(
            "Engines", [one.key for one in installed], format_func=_TITLES.__getitem__, key="bench-engines",
            default=[one.key for one in installed if one.key in USUAL], persist_state="session",
        )  # fmt: skip
        chosen = st.multiselect(
            "Recipes", list(recipes), default=list(recipes)[: 2 if planned.runnable.active else 1],
            key=f"bench-recipes-{planned.runnable.digest}",
        )  # fmt: skip
        settings = _settings()
        limit = st.segmented_control(
            "Images to compare answers on", list(ANSWERS), default=200, required=True, format_func=ANSWERS.__getitem__,
            key="bench-answers", persist_state="session",
            help="Every engine is asked about these images, and its answers are set against the eager model's.",
        )  # fmt: skip
        _about()
    if not keys or not chosen or not settings:
        layout.empty("checklist", "Choose at least one engine, one recipe, one batch and one number of threads.")
        return None
    images = state.images()
    if cache.unmeasurable(planned.recipe.model, images):
        limit = 0  # there are none to compare answers on
    wanted = tuple(recipes[name] for name in chosen)
    return Request(wanted, tuple(keys), settings, images, None if limit == -1 else limit, SECONDS)


def results(request: Request) -> Sequence[BenchRow] | None:
    """The rows, from the store or newly measured; None while there are none, and what to do about it is drawn."""
    number = _number(request)
    rows = None if number else known(request)
    if rows is None:
        rows = waiting.result_of(
            (PURPOSE, request, number), lambda report, cancelled: _measure(request, number, report, cancelled),
            "Start" if not number else "Measure again", _WHY,
        )  # fmt: skip
    return rows


def again(request: Request) -> None:
    """A button that measures what is known already."""

    def start() -> None:
        number = _number(request) + 1
        state.remember(f"{PURPOSE}-again", (request, number))
        waiting.start((PURPOSE, request, number))

    st.button("Measure again", key="bench-again", icon=":material/refresh:", type="tertiary", on_click=start)


def _number(request: Request) -> int:
    """How often this session asked to measure these rows once more."""
    wanted, number = state.recall(f"{PURPOSE}-again", (None, 0))
    return number if wanted == request else 0


def draw(rows: Sequence[BenchRow]) -> None:
    """Speed, and beside it agreement; then the table, and the sentences that belong to the figures."""
    for sentence in dict.fromkeys(
        f"**{_TITLES.get(row.engine, row.engine)}**: {row.problem}" for row in rows if row.problem
    ):
        st.warning(sentence, icon=":material/block:")
    timed = [row for row in rows if row.speed is not None]
    if not timed:
        return
    st.markdown(verdict(timed))
    titles = _titles(rows)
    answered = [row for row in timed if row.agreement is not None]
    places = st.columns([3, 2], gap="medium") if answered else [st.container()]
    with places[0]:
        st.subheader("Speed", anchor=False)
        alt = f"Speed of {len(timed)} rows against the uncompressed model in eager PyTorch, with 95 % intervals."
        table = [{**figures.row_words(row, titles), "Evidence": _evidence(row)} for row in rows]
        quantity.chart(figures.speed_bars(timed, titles), table, "bench-speed", alt)
    if answered:
        with places[1]:
            st.subheader("Agreement", anchor=False)
            alt = f"Share of equal answers of {len(answered)} rows with the eager model of their recipe."
            table = [figures.agreement_words(row, titles) for row in answered]
            quantity.chart(figures.agreement_marks(answered, titles), table, "bench-agreement", alt)
    for note in figures.notes(timed, _TITLES):
        st.caption(note)
    st.caption(_circumstances(timed[-1]))


def _titles(rows: Sequence[BenchRow]) -> dict[str, str]:
    """What people call engines, methods, knobs and models."""
    models = {row.recipe.model: cache.model_title(row.recipe.model) for row in rows}
    return {**_TITLES, **cache.labels(), **models}


def verdict(rows: Sequence[BenchRow]) -> str:
    """The fastest that keeps its answers, in a sentence."""
    best = min((row for row in rows if not row.flagged), key=_ratio, default=None)
    if best is None:
        return "Every engine here changes more answers than the accuracy is known to."
    assert best.speed is not None
    name = f"**{_TITLES.get(best.engine, best.engine)}** with {figures.recipe_words(best, _titles(rows))}"
    if not best.speed.ratio.excludes(1):
        return f"No row is measurably faster than the baseline ({quantity.badge(best.speed.ratio.evidence)})."
    words, bounds = figures.speed(best.speed.ratio), figures.interval(figures.faster(best.speed.ratio))
    flagged = any(row.flagged for row in rows)
    also = " of those that keep their answers" if flagged else ""
    return (
        f"Fastest{also}: {name}, {words} ({bounds}), {best.setting.words} {quantity.badge(best.speed.ratio.evidence)}"
    )


def _ratio(row: BenchRow) -> float:
    assert row.speed is not None
    return row.speed.ratio.value


def _recipes(current: Recipe) -> dict[str, Recipe]:
    """Recipes that are offered, by name: this one, its baseline, presets, and what was measured lately."""
    from vitedge_core.experiments.runs import all_runs

    found = {"The current recipe": current} if current.active else {}
    found |= {"Uncompressed": current.baseline}
    found |= {preset.title: preset.recipe for preset in cache.presets(current.model)}
    recent = [run.recipe for run in all_runs() if run.recipe.model == current.model and run.recipe.active]
    known_ones = {recipe.digest for recipe in found.values()}
    for recipe in reversed(recent):
        if recipe.digest not in known_ones and len(known_ones) < len(cache.presets(current.model)) + 2 + _RECENT:
            known_ones.add(recipe.digest)
            found[f"Measured: {_short(recipe)}"] = recipe
    return found


def _short(recipe: Recipe) -> str:
    return " → ".join(of_recipe(recipe))


def _settings() -> tuple[Setting, ...]:
    cores = os.cpu_count() or 1
    threads = sorted({1, min(2, cores), cores})
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        batches = st.pills("Images in a pass", BATCHES, default=1, selection_mode="multi", key="bench-batches",
                           persist_state="session")  # fmt: skip
        counts = st.pills("Threads", threads, default=1, selection_mode="multi", key="bench-threads",
                          persist_state="session")  # fmt: skip
        decoding = st.toggle(
            "Decoding included", key="bench-decoding", persist_state="session",
            help="From the encoded file: decode, resize, normalise and run. Without it the model only.",
        )  # fmt: skip
    return tuple(Setting(batch, count, decoding) for batch in batches for count in counts)


def _about() -> None:
    with st.expander("What each engine is, and which are not installed", icon=":material/help:", key="bench-about"):
        for one in ENGINES:
            st.markdown(f"- **{one.title}** `{one.key}`: {one.missing() or one.about}")


def _measure(request: Request, number: int, report: Any, cancelled: Any) -> tuple[BenchRow, ...]:
    return bench(request, again=number > 0, report=report, cancelled=cancelled)


def _evidence(row: BenchRow) -> str:
    return row.speed.ratio.evidence.value if row.speed else ""


def _circumstances(row: BenchRow) -> str:
    """Where the figures were measured."""
    where = row.circumstances
    libraries = ", ".join(
        f"{name} {number}" for name, number in where.versions if name in {"torch", "onnxruntime", "openvino", "nncf"}
    )
    chosen = f", frequency by {where.governor}" if where.governor else ""
    return f"{where.processor} ({where.machine}){chosen}, load {where.load:.1f}; {libraries}. Kept in the store."
