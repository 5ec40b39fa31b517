"""Why a recipe is not smaller or faster: below the cards of Build, only when its size or time does not follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.text.human import human, interval
from vitedge_core.ui import cache, measuring, quantity, state, waiting

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.reasons import Reason
    from vitedge_core.experiments.counter_proof import Counter, Proof
    from vitedge_core.recipe import Recipe


def panel(planned: Planned) -> None:
    """A folded list of the reasons that hold; nothing where size and time follow the recipe."""
    from vitedge_core.cost.own_devices import this_machine
    from vitedge_core.cost.reasons import promise, reasons

    before, after = planned.plans[0], planned.last
    best = measuring.read(planned.runnable, state.images()).best
    ratio = best.ratio if best else None
    seconds = best.compressed.get("latency_seconds") if best else None
    found = reasons(before, after, ratio, seconds, this_machine())
    if not found:
        return
    kept = promise(before, after, ratio)
    late = [name for name, follows in (("smaller", kept.size_follows), ("faster", kept.time_follows)) if not follows]
    count = "1 reason" if len(found) == 1 else f"{len(found)} reasons"
    label = f"Why is it not {' or '.join(late)}? {count}"
    opened = st.expander(label, key="reasons", icon=":material/psychology_alt:", on_change="rerun")
    if opened.open:
        with opened:
            for reason in found:
                _reason(planned, reason)


def _reason(planned: Planned, reason: Reason) -> None:
    st.markdown(f"**{reason.cause.value.capitalize()}.** {reason.sentence}")
    told = (f"{name} {human(value)} {quantity.badge(value.evidence)}" for name, value in reason.evidence)
    st.caption(" · ".join(told))
    other = cache.counter_recipe(planned, reason.cause)
    if other is not None:
        _counter_proof(planned.runnable, other)


def _counter_proof(recipe: Recipe, other: Counter) -> None:
    """The button, the wait, and both latencies."""
    missing = cache.without_weights(recipe.model)
    if missing:
        st.caption(missing)
        return
    key = (f"proof {other.cause.name}", recipe.digest, other.recipe.digest)
    why = f"The same recipe, but {other.title}; timed beside it."
    proof = waiting.result_of(key, _work(recipe, other), "Show the counter-proof", why)
    if proof is not None:
        _proof(proof, other)


def _work(recipe: Recipe, other: Counter) -> Any:
    def work(report: Any, cancelled: Any) -> Proof:
        from vitedge_core.experiments.counter_proof import prove

        return prove(recipe, other, report=report, cancelled=cancelled)

    return work


def _proof(proof: Proof, other: Counter) -> None:
    rows = (("Baseline", proof.baseline, None), ("This recipe", proof.ours, proof.ours_ratio),
            (f"Counter-proof: {other.title}", proof.counter, proof.counter_ratio))  # fmt: skip
    table = [
        {"model": name, "time of one image": human(time), "95 % interval": interval(time),
         "of the baseline's": human(ratio) if ratio else "", "its 95 % interval": interval(ratio) if ratio else ""}
        for name, time, ratio in rows
    ]  # fmt: skip
    st.dataframe(table, hide_index=True, key=f"proof-rows-{other.cause.name}",
                 alt="Times of the baseline, of this recipe and of the counter-proof.")  # fmt: skip
    quantity.note(proof.ours.evidence, f"{proof.ours.source}. {proof.warning or ''}".strip())
