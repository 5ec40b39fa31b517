"""A target in, recipes out: the limits a person sets, the recipes that meet them, and what gives if none does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.human import human, interval, milliseconds
from vitedge_core.ui import cache, engine_choice, layout, quantity, state, sweep_form
from vitedge_core.ui.words import of_recipe

if TYPE_CHECKING:
    from vitedge_core.experiments.advisor import Advice, Answer, Condition, Wish
    from vitedge_core.experiments.runs import Run

FIRST = "Raspberry Pi 5"
HERE = "This machine"
ENGINE_CHOICE = "advisor-engine"
CARDS = 3  # recipes that get a card of their own; the others stand in the table
ROWS = 50
LEAST = 0.5  # below this chance a recipe is said to be a gamble
Limits = tuple[str, float | None, float | None, float | None, float | None]


def limits() -> Limits:
    """Device, seconds, bytes of the file, bytes of memory, share of accuracy, as a person set them."""
    names = sorted({target.device for target in cache.edge_latencies().targets})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        device = st.selectbox(
            "Device", [HERE, *names], index=1 + names.index(FIRST) if FIRST in names else 0, key="advisor-device",
            persist_state="session", width=280, help="Times on named devices are predicted from published ones.",
        )  # fmt: skip
        ms = _limit("Time in ms", "advisor-ms", 50.0, 10.0, "Of one image.")
        file = _limit("File in MB", "advisor-file", 10.0, 1.0, "Of the weights, packed at the recipe's bits.")
        memory = _limit("Memory in MB", "advisor-memory", None, 10.0, "Weights and activations alive at once.")
        lost = st.number_input(
            "Points that may be lost", 0.0, 100.0, 1.0, 0.5, "%g", key="advisor-lost", persist_state="session",
            width=180,
            help="Accuracy lost against the same model uncompressed; empty is no limit.",
        )  # fmt: skip
    return (
        "" if device == HERE else device, _scaled(ms, 1e-3), _scaled(file, 1e6), _scaled(memory, 1e6),
        _scaled(lost, 0.01),
    )  # fmt: skip


def _limit(label: str, key: str, value: float | None, step: float, meaning: str) -> float | None:
    found = st.number_input(label, min_value=0.0, value=value, step=step, key=key, placeholder="no limit", width=150,
                            format="%g", persist_state="session", help=meaning)  # fmt: skip
    return found or None


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def measured() -> tuple[list[Run], list[str]]:
    """The stored runs on one image set in one engine, and the models that may be used."""
    from vitedge_core.experiments.points import image_sets
    from vitedge_core.experiments.runs import all_runs

    runs = all_runs(engine=None)
    current = state.current_recipe().model
    known = sorted({run.recipe.model for run in runs} | {current})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        models = st.multiselect(
            "Models", known, default=None, key="advisor-models", persist_state="session",
            format_func=cache.model_title, placeholder="all that were measured, and the one in Build",
        )  # fmt: skip
        runs, _ = engine_choice.measured_in(runs, ENGINE_CHOICE)
        sets = {images.digest: images for images in image_sets(runs)}
        digest = st.selectbox(
            "Images", list(sets), key="advisor-images", persist_state="session", disabled=len(sets) < 2,
            placeholder="nothing measured yet", format_func=lambda key: f"{sets[key].title} ({sets[key].runs} runs)",
            help="Accuracies on different images cannot be compared.",
        )  # fmt: skip
    return [run for run in runs if run.evaluation.digest == digest], models or known


def _engine() -> str:
    """Key of the engine whose runs are advised from."""
    return engine_choice.key_of(state.widget(ENGINE_CHOICE) or "")


def advised(runs: Sequence[Run], models: Sequence[str], wish: Wish) -> Answer:
    """The answer, with recipes ranked."""
    from vitedge_core.experiments.advisor import advise

    return advise(runs, models, wish, cache.edge_latencies())


def answer(found: Answer) -> None:
    """What fits, best first; or the nearest miss and what gives; then what nobody tried yet."""
    if found.fitting:
        _fitting(found)
    elif found.considered:
        _missing(found)
    else:
        layout.empty("lab_research", "Nothing was measured for these models yet. Measure one of the recipes below.")
    _untried(found.untried)
    _sweep(found)
    if found.considered:
        _table((*found.fitting, *found.missing))


def _fitting(found: Answer) -> None:
    best = found.fitting[0]
    assert best.accuracy is not None
    st.markdown(
        f"**{len(found.fitting)} of {found.considered} measured recipes fit.** The best keeps {human(best.accuracy)}; "
        f"{_danger(best)}"
    )
    for number, advice in enumerate(found.fitting[:CARDS]):
        _card(advice, ("Best", "Next best", "Third")[number], f"fits-{number}")


def _danger(advice: Advice) -> str:
    binding = advice.binding
    if binding is None:
        return "no limit touches it."
    room = f"its {binding.name} is the limit that binds: {_held(binding)}"
    return f"{room}, {100 * binding.chance:.0f} % sure." if binding.chance < 1 else f"{room}."


def _missing(found: Answer) -> None:
    nearest = found.missing[0]
    st.markdown(f"**None of {found.considered} measured recipes fits.** The nearest miss:")
    _card(nearest, "Nearest miss", "miss-0")
    if not found.gives:
        st.caption("No single limit is to blame: every recipe breaks two or more, or some figure is unknown.")
        return
    lines = [
        f"- **{given.name}**: {_told(given.limit, given.name)} instead of {_limit_told(given.advice, given.name)} "
        f"would do, with {'; '.join(of_recipe(given.advice.recipe))}"
        for given in found.gives
    ]
    st.markdown("What gives, one limit at a time:\n" + "\n".join(lines))


def _card(advice: Advice, title: str, key: str) -> None:
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            steps = " :gray[→] ".join(of_recipe(advice.recipe))
            st.markdown(f":blue-badge[{title}] **{cache.model_title(advice.recipe.model)}** :gray[→] {steps}")
            if st.button("Open in Build", key=f"{key}-open", icon=":material/tune:"):
                layout.open_in(advice.recipe, "build", _engine())
        parts = [f"{_mark(condition)}{condition.name} {_held(condition)}" for condition in advice.conditions]
        if advice.accuracy is not None:
            bounds = interval(advice.accuracy)
            parts.insert(0, f"accuracy **{human(advice.accuracy)}** ({bounds}, {advice.n:,} images)")
        st.markdown(" · ".join(parts))
        quantity.note(*_remarks(advice))


def _remarks(advice: Advice) -> list[str | Evidence]:
    """How sure it is, and where the time comes from."""
    sure = "a gamble" if advice.chance < LEAST else "likely" if advice.chance < 0.9 else "safe"
    lines: list[str | Evidence] = []
    if advice.accuracy is not None:
        lines.append(f"{100 * advice.chance:.0f} % that all limits hold: {sure}.")
    times = [condition.figure for condition in advice.conditions if condition.figure and condition.figure.unit == "s"]
    for time in times:
        where = f" with {advice.target.runtime}, {advice.target.precision}" if advice.target else ""
        level = "80 %" if time.evidence is Evidence.PREDICTED else "95 %"
        lines += [time.evidence, f"Time{where}: {human(time)}, {level} interval {interval(time)}."]
    return lines + [condition.why for condition in advice.conditions if condition.why]


def _mark(condition: Condition) -> str:
    """A letter, because a line could break behind an icon; it stays with the word after it."""
    mark = "?" if condition.figure is None else "✓" if condition.met else "✗"
    return f"{mark}\N{NO-BREAK SPACE}"


def _held(condition: Condition) -> str:
    """The figure against its limit."""
    limit = _told(_as_limit(condition), condition.name)
    return (
        f"unknown, limit {limit}"
        if condition.figure is None
        else f"{_told(condition.figure, condition.name)} of {limit}"
    )


def _as_limit(condition: Condition) -> Quantity:
    unit = {"time": "s", "accuracy lost": "share"}.get(condition.name, "byte")
    return Quantity.exact(condition.limit, unit, "the limit that was set")


def _limit_told(advice: Advice, name: str) -> str:
    return next(_told(_as_limit(condition), name) for condition in advice.conditions if condition.name == name)


def _told(value: Quantity, name: str) -> str:
    """A figure; lost accuracy in points."""
    return f"{100 * value.value:.1f} points".replace("-", "−") if name == "accuracy lost" else human(value)


def _untried(found: Sequence[Advice]) -> None:
    """Recipes whose costs fit and whose accuracy nobody knows."""
    if not found:
        return
    with st.expander(
        f"{len(found)} recipes whose costs fit, not measured yet", key="untried", icon=":material/science:"
    ):
        for number, advice in enumerate(found):
            _card(advice, "Not measured", f"untried-{number}")


def _sweep(found: Answer) -> None:
    """Offers to measure more recipes near the budget; the Pareto page shows how far that is."""
    from vitedge_core.experiments.advisor import focused

    space = focused(found, state.images())
    if space is None or cache.without_weights(space.recipe.model):
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        if st.button(f"Measure {space.total} recipes near this budget", key="advisor-sweep", icon=":material/search:"):
            sweep_form.start(replace(space, engine=_engine()), 1)
            st.switch_page("pages/pareto.py")
        steps = "; ".join(of_recipe(space.recipe))
        st.markdown(
            f":gray[A sweep around {cache.model_title(space.recipe.model)}, {steps}, that keeps to the limits.]"
        )


def _table(found: Sequence[Advice]) -> None:
    st.subheader("All of them, ranked", anchor=False)
    number = st.column_config.NumberColumn
    st.dataframe(
        [_row(place, advice) for place, advice in enumerate(found[:ROWS], 1)], hide_index=True, key="advisor-rows",
        alt="Recipes in the order in which they meet the limits, with every figure.",
        column_config={
            "Chance, %": number(format="%.0f", help="That all limits hold, if their errors are independent."),
            "Accuracy, %": number(format="%.1f"), "Time, ms": number(format="%.2f"), "File, MB": number(format="%.2f"),
            "Memory, MB": number(format="%.1f"), "Points lost": number(format="%.1f"),
            "Limit that binds": st.column_config.TextColumn(help="The limit that is most likely to be broken."),
        },
    )  # fmt: skip
    if len(found) > ROWS:
        st.caption(f"The first {ROWS} of {len(found)} are shown; the rest is on the Pareto page.")


def _row(place: int, advice: Advice) -> dict[str, Any]:
    figures = {condition.name: condition.figure for condition in advice.conditions}
    binding, time = advice.binding, figures.get("time")
    row: dict[str, Any] = {
        "Rank": place, "Fits": advice.fits, "Chance, %": 100 * advice.chance,
        "Model": cache.model_title(advice.recipe.model),
        "Recipe": "; ".join(of_recipe(advice.recipe)), "Accuracy, %": advice.accuracy and 100 * advice.accuracy.value,
        "Images": advice.n, "Limit that binds": binding.name if binding else "",
    }  # fmt: skip
    if "time" in figures:
        row["Time, ms"] = time and milliseconds(time)
    for name, column in (("file", "File, MB"), ("memory", "Memory, MB")):
        if name in figures:
            row[column] = (figure := figures[name]) and figure.value / 1e6
    if "accuracy lost" in figures:
        row["Points lost"] = (lost := figures["accuracy lost"]) and 100 * lost.value
    return row
