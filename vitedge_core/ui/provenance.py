"""Where every figure comes from: the sentences and tables of the Sources page."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.cards import arxiv_link
from vitedge_core.text.human import interval
from vitedge_core.text.sources import (
    COUNTERS_LEAD,
    COUNTERS_MORE,
    COUNTING,
    DEVICES,
    EDGE,
    IMAGES,
    INTERVALS,
    MACS_KINDS,
    RESULTS,
    counter_rows,
)
from vitedge_core.ui import cache, gallery, units
from vitedge_core.ui.quantity import MEANING, badge

EXAMPLES = {
    Evidence.MEASURED: "parameters and MACs of a plan that is exact, accuracy on images, latency of this machine",
    Evidence.PREDICTED: "costs of a step whose choice depends on weights that were not looked at yet, peak memory",
    Evidence.PUBLISHED: "top-1 of the zoo's models, with the table it stands in",
    Evidence.IMPORTED: "a colleague's runs; they stand beside your own and never replace a measurement",
    Evidence.SIMULATED: "accuracy with values rounded to few bits but computed in float, MACs if zeros were skipped",
}


def evidence() -> None:
    """The kinds of evidence and what stands under each."""
    for kind in Evidence:
        st.markdown(f"{badge(kind)} {MEANING[kind].capitalize()}: {EXAMPLES[kind]}.")
    st.markdown(INTERVALS)


def counting() -> None:
    """How operations, sizes, memory and time are counted."""
    st.markdown(COUNTING)
    st.subheader("Our count and its two referees", anchor="referees")
    st.markdown(COUNTERS_LEAD)
    st.table(counter_rows(), border="horizontal", hide_index=True)
    st.markdown(COUNTERS_MORE)


def images() -> None:
    """What the bundled images are."""
    from vitedge_core.datasets import wild_digits

    st.markdown(IMAGES.format(count=wild_digits.TEST_IMAGES))


def bundled() -> None:
    """The cards of the models that this repository trained."""
    from vitedge_core.models.zoo import BUNDLED, WEIGHTS, card

    for name in BUNDLED:
        path = WEIGHTS / f"{name}.json"
        facts = card(name)
        with st.container(border=True):
            st.markdown(f"**{facts.title}** `{name}`")
            st.caption(_of_model(facts.params, facts.macs, facts.top1))
            if path.is_file():
                with st.expander("The whole card", key=f"card-{name}"):
                    st.json(json.loads(path.read_text(encoding="utf-8")))
            else:
                st.caption("No trained weights here yet: `make train` makes them.")


def _of_model(params: int, macs: int, top1: Quantity | None) -> str:
    counts = (Quantity.exact(params, "parameter", "trace"), Quantity.exact(macs, "MAC", "trace"))
    accuracy = f"top-1 {units.said(top1)} ({interval(top1)}), {top1.source}" if top1 else "top-1 not measured"
    return f"{units.said(counts[0])} parameters, {units.said(counts[1])}, {accuracy}"


def zoo_rows() -> list[dict[str, Any]]:
    """The zoo's facts as a table."""
    return [
        {
            "Model": card.title, "timm name": card.name, "Parameters (M)": card.params / 1e6,
            "GMAC": card.macs / 1e9, "Image": card.image, "Published top-1 (%)": card.top1 and card.top1.value * 100,
            "Source of the top-1": card.top1.source if card.top1 else "", "Licence": card.licence,
        }
        for card in cache.models().values() if not card.bundled and not card.name.startswith("mine/")
    ]  # fmt: skip


def references() -> None:
    """The papers behind the methods."""
    lines = [
        f"- **{cls.card.title}**: {cls.card.reference} {arxiv_link(cls.card.arxiv)}"
        for cls in cache.catalogue().values()
    ]
    st.markdown("\n".join(lines))


def zoo() -> None:
    """The zoo's facts; sorts and searches in the table itself."""
    gallery.facts("Facts of the zoo's models", zoo_rows(), "zoo", height=420)


def edge() -> None:
    """The published latencies, and how far predictions from them are off."""
    from vitedge_core.cost.edge_rows import refused, rows

    devices = {row.published.device for row in (*rows(), *refused())}
    impossible = sum(row.reason.startswith("Rejected") for row in refused())
    st.markdown(EDGE.format(
        latencies=len(rows()) + len(refused()), devices=len(devices), learnt=len(rows()),
        apart=len(refused()) - impossible, impossible=impossible or "none",
    ))  # fmt: skip
    if st.toggle("Show how far predictions are off", key="edge-errors-shown"):
        gallery.facts(
            "Errors of predicted latencies on rows that were held out", edge_rows(), "edge-errors", height=420
        )


def edge_rows() -> list[dict[str, Any]]:
    """The errors of predicted latencies as a table."""
    return [
        {
            "Held out": line.held_out, "Rows of": line.of, "Method": line.method, "Rows": line.rows,
            "Median error (%)": round(100 * line.median, 1), "Within 1.5x (%)": round(100 * line.within_1_5, 1),
            "Within 2x (%)": round(100 * line.within_2, 1),
            "80 % interval holds (%)": line.covered and round(100 * line.covered),
        }
        for line in cache.edge_errors()
    ]  # fmt: skip


def results() -> None:
    """The published results and how their MACs are counted."""
    from collections import Counter

    from vitedge_core.published.results import results as known

    rows = known()
    sources = Counter(row.source for row in rows)
    st.markdown(RESULTS.format(
        results=len(rows), methods=len({row.method for row in rows}), sources=len(sources),
        checked=sum(row.checked for row in rows),
    ))  # fmt: skip
    st.markdown(MACS_KINDS)
    if st.toggle("Show the sources", key="results-shown"):
        table = [{"Source": source, "Results": count} for source, count in sources.most_common()]
        gallery.facts("Sources of the published results", table, "results", height=420)


def devices() -> None:
    """Data sheets, energy and boards of one's own."""
    from vitedge_core.cost.devices import devices as known
    from vitedge_core.measure.ladder import networks

    st.markdown(DEVICES.format(devices=len(known()), networks=len(list(networks()))))
    if st.toggle("Show the data sheets", key="devices-shown"):
        gallery.facts("Devices as their data sheets describe them", device_rows(), "devices", height=420)


def device_rows() -> list[dict[str, Any]]:
    """The data sheets as a table."""
    from vitedge_core.cost.devices import devices as known

    return [
        {
            "Device": device.name, "Processor": device.processor, **_peaks(dict(device.peaks)),
            "Memory (GB/s)": device.bandwidth and device.bandwidth / 1e9, "Power (W)": device.power,
            "Source": device.source, "Verified": device.verified,
        }
        for device in known()
    ]  # fmt: skip


def _peaks(peaks: dict[int, float]) -> dict[str, float | None]:
    return {f"{bits} bits (GMAC/s)": peaks[bits] / 2e9 if bits in peaks else None for bits in (32, 16, 8)}
