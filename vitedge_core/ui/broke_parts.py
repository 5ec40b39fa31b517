"""The parts of the What broke page: layers, where it looks, and where the two models disagree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from vitedge_core.plots import agreement as answers
from vitedge_core.plots import object_gaze as gazes
from vitedge_core.plots.divergence import divergence, divergence_rows
from vitedge_core.text.human import human
from vitedge_core.ui import layout, quantity
from vitedge_core.ui.broke import clear

if TYPE_CHECKING:
    from vitedge_core.evidence import Quantity
    from vitedge_core.experiments.object_gaze import Pair
    from vitedge_core.experiments.what_broke import WhatBroke


def layers(broke: WhatBroke) -> None:
    """Where the two models drift apart."""
    drift = broke.divergence
    st.subheader("Where it drifts apart", anchor=False)
    first = f"{drift.first.name} is the first to fall off" if drift.first else f"no {drift.kind} falls off"
    quantity.chart(
        divergence(drift), divergence_rows(drift), "broke-layers",
        f"Signal to noise of the output of {len(drift.layers)} {drift.kind}s, compressed against baseline; {first}.",
    )  # fmt: skip
    st.caption(
        f"{drift.rule} “This block alone” feeds each block what the uncompressed model would, so it tells who does the "
        f"damage; the other line adds up what came before. Means over {drift.n:,} images."
        if drift.kind == "block"
        else f"{drift.rule} Means over {drift.n:,} images."
    )


def sight(broke: WhatBroke) -> None:
    """Does it still look at the object?"""
    st.subheader("Does it still look at the object?", anchor=False)
    if broke.gaze is None:
        layout.empty("visibility_off", broke.why_no_gaze)
        return
    gaze, accuracy = broke.gaze, broke.accuracy
    with st.grid(4, min_column_width=170):
        _card("Points at the object", gaze.hits, "hits", "The brightest point of the attention map lies on the object.")
        _card("Attention on the object", gaze.mass, "mass", "Share of the attention on patches that falls on the mask.")
        _card("Deletion", gaze.deletion, "deletion", _DELETION, higher_is_better=False)
        _card("Insertion", gaze.insertion, "insertion", _INSERTION)
    left, right = st.columns(2, gap="large")
    with left:
        quantity.chart(
            gazes.looks(gaze, accuracy), gazes.look_rows(gaze, accuracy), "broke-looks",
            f"Right answers {human(accuracy.before)} to {human(accuracy.after)}, pointing hits "
            f"{human(gaze.hits.before)} to {human(gaze.hits.after)}, attention on the object "
            f"{human(gaze.mass.before)} to {human(gaze.mass.after)}; chance is {human(gaze.chance)}.",
        )  # fmt: skip
        st.caption(
            f"Attention rollout on {gaze.n:,} images with exact masks. Pointing beats chance by "
            f"{human(gaze.margin.before, signed=True)} before and {human(gaze.margin.after, signed=True)} after."
        )
    with right:
        quantity.chart(
            gazes.curves(gaze), gazes.curve_rows(gaze), "broke-curves",
            "Confidence of both models while patches are taken out and put back, and the same in a random order.",
        )  # fmt: skip
        st.caption(
            f"Confidence in the model's own first answer on {gaze.deletion.n:,} images, while the patches that it "
            "attends to most turn grey (deletion) or appear in a blurred image (insertion). Far from the dotted line "
            "means that its attention tells what it decides by."
        )


_DELETION = (
    "Area under the curve of confidence while the patches it attends to most turn grey, minus that of a random order: "
    "the lower, the more these patches matter."
)
_INSERTION = (
    "Area under the curve of confidence while the patches it attends to most appear, minus that of a random order: the "
    "higher, the more these patches matter."
)


def agreement(broke: WhatBroke) -> None:
    """Where the two models disagree."""
    st.subheader("Where the answers change", anchor=False)
    both = broke.agreement
    flips = both.flips
    quantity.chart(
        answers.flips(flips), answers.flip_rows(flips), "broke-flips",
        f"Same answer {human(flips.same)}, newly wrong {human(flips.newly_wrong)}, newly right "
        f"{human(flips.newly_right)}, wrong in another way {human(flips.other_wrong)} of {flips.n:,} images.",
    )  # fmt: skip
    left, right = st.columns(2, gap="large")
    with left:
        _calibration(broke)
    with right:
        st.markdown("**Accuracy of each class**")
        worst = both.worst
        quantity.chart(
            answers.classes(both), answers.class_rows(both), "broke-classes",
            "Accuracy of each class before and after; "
            + (f"“{worst.name}” is hit worst, {human(worst.change, signed=True)}." if worst else "none lost anything."),
        )  # fmt: skip
        shown = len(answers.shown_classes(both))
        more = f" Of {len(both.classes):,} classes, the {shown} that lost most." if shown < len(both.classes) else ""
        st.caption(
            "Bars are 95 % intervals. Whether a class is hit more than chance is judged for all classes at once, in "
            f"the table.{more}"
        )


def _calibration(broke: WhatBroke) -> None:
    before, after = broke.agreement.calibration
    st.markdown("**Does it know how sure it may be?**")
    quantity.chart(
        answers.reliability(before, after), answers.reliability_rows(before, after), "broke-calibration",
        f"Accuracy against confidence; calibration error {human(before.ece)} before, {human(after.ece)} after.",
    )  # fmt: skip
    for label, old, new, key in (
        ("Calibration error", before.ece, after.ece, "ece"),
        ("Mean confidence", before.confidence, after.confidence, "confidence"),
    ):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"{label}: **{human(old)}** before, **{human(new)}** after")
            quantity.source(new, old, key=f"broke-{key}")


def _card(label: str, pair: Pair, key: str, help: str, *, higher_is_better: bool = True) -> None:
    """A figure before and after; a change that chance explains gets no colour."""
    after: Quantity = pair.after
    with st.container(border=True, gap="small"):
        quantity.draw_metric(
            label, after, pair.before, higher_is_better=higher_is_better, difference=pair.change,
            clear=clear(pair.change), help=help,
        )  # fmt: skip
        quantity.source(after, pair.before, key=f"broke-{key}", also={"Paired change": pair.change})
