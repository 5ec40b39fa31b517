"""The current recipe on edge devices: which, what it may take, a row for each, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.cost.budget import Budget, Fit
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.text.human import human, interval, megabytes, millijoules, milliseconds
from vitedge_core.ui import cache, layout, quantity

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.edge_latency import Residual
    from vitedge_core.cost.edge_report import EdgeRow
    from vitedge_core.cost.edge_target import Target

FIRST = ("Raspberry Pi 5", "Raspberry Pi 4B", "Jetson Orin Nano 8GB Super (25W)", "Samsung Galaxy S24", "iPhone 12",
         "Dragonwing RB3 Gen 2 Vision Kit", "Hailo-8 (PCIe host)")  # fmt: skip
KINDS = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}
FITS = {Fit.YES: "✓ fits", Fit.MAYBE: "≈ maybe", Fit.NO: "✗ no", Fit.UNKNOWN: "? unknown"}
BOUNDS = {"compute": "arithmetic", "memory": "memory", "overhead": "neither: overhead", "": "unknown"}
SHOWN = 24  # devices in the chart
RUNTIME = 24  # letters of a runtime's name on an axis
CALLOUTS = 3  # published counter-examples that are shown


def choice() -> tuple[tuple[Target, ...], Budget]:
    """Which devices, and what an inference may take."""
    from vitedge_core.cost.edge_report import kind_of

    known = cache.edge_latencies().targets
    devices = sorted({target.device for target in known})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        names = st.multiselect(
            "Devices", devices, default=[name for name in FIRST if name in devices], key="edge-devices",
            placeholder="all devices", persist_state="session", width=520,
            help="Nothing chosen means all of them. Imported boards are always shown.",
        )  # fmt: skip
        engines = st.multiselect(
            "Runtimes", sorted({target.engine for target in known}), key="edge-runtimes", placeholder="all runtimes",
            persist_state="session", width=260,
        )  # fmt: skip
        kinds = st.pills("Processors", list(KINDS), format_func=KINDS.__getitem__, selection_mode="multi",
                         key="edge-kinds", persist_state="session")  # fmt: skip
    chosen = tuple(t for t in known if (not names or t.device in names) and (not engines or t.engine in engines))
    return tuple(t for t in chosen if not kinds or kind_of(t) in kinds), _budget()


def _budget() -> Budget:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        ms = _limit("Budget: time in ms", "edge-ms", "Of one inference.")
        mb = _limit("Budget: memory in MB", "edge-mb", "Weights and activations alive at once.")
        mj = _limit("Budget: energy in mJ", "edge-mj", "From published costs of a 45 nm chip: a rough guide.")
    return Budget(None if ms is None else ms / 1e3, None if mb is None else mb * 1e6, None if mj is None else mj / 1e3)


def _limit(label: str, key: str, meaning: str) -> float | None:
    """A limit that a person typed; none while the field is empty or zero."""
    return st.number_input(label, min_value=0.0, value=None, step=10.0, key=key, placeholder="no limit", width=180,
                           persist_state="session", help=meaning) or None  # fmt: skip


def rows(planned: Planned, targets: Sequence[Target]) -> tuple[EdgeRow, ...]:
    """A row for each board and target."""
    return cache.edge_rows(planned, tuple(targets))


def verdict(planned: Planned, found: Sequence[EdgeRow], budget: Budget) -> None:
    """How many fit, which is the fastest that does, and what must be known of the recipe."""
    from vitedge_core.cost.edge_domain import plan_flags

    fits = {fit: [row for row in found if row.latency and row.fits(budget)[3] is fit] for fit in Fit}
    outside = [row for row in found if row.latency is None]
    parts = [f"**{len(fits[Fit.YES])} fit**", f"{len(fits[Fit.MAYBE])} maybe", f"{len(fits[Fit.NO])} do not"]
    if fits[Fit.UNKNOWN]:
        parts.append(f"{len(fits[Fit.UNKNOWN])} unknown")
    if outside:
        parts.append(f"{len(outside)} cannot be predicted, and say why")
    st.markdown(" · ".join(parts))
    best = min(fits[Fit.YES], key=lambda row: row.latency.value, default=None)  # type: ignore[union-attr]
    if best is not None and best.latency is not None:
        st.caption(
            f"{quantity.badge(Evidence.PREDICTED)} Fastest that fits: {best.target.device}, {best.target.runtime}, "
            f"{best.target.precision}: {human(best.latency)}, 80 % interval {interval(best.latency)}."
        )
    predicted = any(row.latency is not None for row in found)
    for sentence in plan_flags(planned.last) if predicted else ():
        st.caption(f":material/info: {sentence}")


def counter_examples(found: Sequence[EdgeRow]) -> None:
    """Published measurements that contradict what most people expect: the largest of each device and kind."""
    from vitedge_core.cost.edge_surprises import surprises

    chosen = dict.fromkeys((row.target.device, row.target.precision) for row in found)
    seen = dict.fromkeys(surprise for device, precision in chosen for surprise in surprises(device, "", precision))
    largest = {(s.slower.device, s.kind): s for s in sorted(seen, key=lambda surprise: surprise.ratio)}
    worst = sorted(largest.values(), key=lambda surprise: -surprise.ratio)[:CALLOUTS]
    for surprise in worst:
        fast, slow = surprise.quantities
        late, early, kind = surprise.slower, surprise.faster, surprise.kind[:1].upper() + surprise.kind[1:]
        st.warning(
            f"**{kind}** on {late.device}: {late.model} takes {human(slow)} at {late.precision} with {late.runtime}, "
            f"against {human(fast)} at {early.precision} with {early.runtime}: {surprise.ratio:.1f} times as long. "
            f"{quantity.badge(Evidence.PUBLISHED)}",
            icon=":material/warning:",
        )
    if len(seen) > len(worst):
        st.caption(f"{len(seen) - len(worst)} more such pairs were published on these devices.")


def table(found: Sequence[EdgeRow], budget: Budget) -> None:
    """The rows; every column sorts, and the table's own search and filters work on it."""
    if not found:
        layout.empty("filter_alt_off", "No device is left: choose other devices, runtimes or processors.")
        return
    ordered = sorted(found, key=lambda row: row.latency.value if row.latency else math.inf)
    number = st.column_config.NumberColumn
    st.dataframe(
        [_line(row, budget) for row in ordered], hide_index=True, key="edge-rows",
        alt="Predicted latency, memory and energy of the recipe on each device.",
        column_config={
            "ms": number(format="%.1f", help="Predicted time of one image."),
            "80 % from": number(format="%.1f"), "80 % to": number(format="%.1f"),
            "baseline ms": number(format="%.1f", help="Predicted time of the uncompressed model."),
            "images/s": number(format="%.1f"), "MB": number(format="%.1f", help="Peak memory at this precision."),
            "mJ": number(format="%.1f", help="From published costs of a 45 nm chip."),
            "residual": st.column_config.TextColumn(help="Predicted of the nearest, without its network."),
            "why or remark": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
    st.caption(
        f"{quantity.badge(Evidence.PREDICTED)} Intervals hold 80 % of what a fit had not seen. “Maybe”: the budget "
        "lies inside the interval, or only variants with more memory are large enough."
    )


def _line(row: EdgeRow, budget: Budget) -> dict[str, Any]:
    time, memory, joules, whole = row.fits(budget)
    latency, nearest = row.latency, row.nearest
    return {
        "device": row.target.device, "runtime": row.target.runtime, "precision": row.target.precision,
        "processor": KINDS.get(row.kind, "unknown"), "ms": latency and milliseconds(latency),
        "80 % from": _end(latency, "low"), "80 % to": _end(latency, "high"),
        "baseline ms": row.before and milliseconds(row.before), "fits": FITS[whole] if latency else "✗ out of domain",
        "time": FITS[time], "memory": FITS[memory], "energy": FITS[joules], "bound by": BOUNDS[row.bound],
        "images/s": row.images_per_second, "MB": megabytes(row.memory), "mJ": millijoules(row.joules),
        "nearest measurement": f"{nearest.example.model}: {human(nearest.measured)}" if nearest else "",
        "residual": f"{nearest.ratio - 1:+.0%}" if nearest else "", "why or remark": row.why or " ".join(row.flags),
    }  # fmt: skip


def _end(quantity: Quantity | None, name: str) -> float | None:
    end = quantity and getattr(quantity, name)
    return None if quantity is None or end is None else 1e3 * end


def chart(found: Sequence[EdgeRow], budget: Budget) -> None:
    """Baseline beside compressed on the fastest of the rows, with the budget."""
    from vitedge_core.plots.edge import Bar, bars

    ready = sorted((row for row in found if row.latency), key=lambda row: row.latency.value)[:SHOWN]  # type: ignore[union-attr]
    if not ready:
        return
    shown = [
        Bar(_lines(row), _ends(row.latency), row.before.value if row.before else None)  # type: ignore[arg-type]
        for row in ready
    ]
    listed = [
        {"device": _name(row), "baseline": human(row.before) if row.before else "", "compressed": human(row.latency),
         "80 % interval": interval(row.latency)}
        for row in ready if row.latency
    ]  # fmt: skip
    alt = f"Predicted time on {len(ready)} devices, baseline beside compressed, from {listed[0]['compressed']} upwards."
    quantity.chart(bars(shown, _seconds, budget.seconds), listed, "edge-bars", alt)


def _name(row: EdgeRow) -> str:
    return f"{row.target.device}, {row.target.runtime}, {row.target.arithmetic}"


def _lines(row: EdgeRow) -> str:
    """The name in two short lines for an axis."""
    runtime = row.target.runtime if len(row.target.runtime) <= RUNTIME else row.target.runtime[: RUNTIME - 1] + "…"
    return f"{escape(row.target.device)}<br>{escape(runtime)}, {escape(row.target.arithmetic)}"


def _seconds(value: float) -> str:
    """A tick of an axis: "20 ms"."""
    return human(Quantity.exact(float(f"{value:.1g}"), "s", "a tick")).replace(".00", "").replace(".0 ", " ")


def _ends(found: Quantity) -> tuple[float, float, float]:
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    return found.value, low, high


def agreement(targets: Sequence[Target]) -> None:
    """Predicted against measured for one device: each prediction comes from a fit without that network."""
    from vitedge_core.cost.edge_accuracy import typical_error
    from vitedge_core.plots.edge import Seen
    from vitedge_core.plots.edge import agreement as draw

    names = sorted(
        {target.device for target in targets} or {target.device for target in cache.edge_latencies().targets}
    )
    if not names:
        return
    name = st.selectbox("Device", names, key="edge-agreement", persist_state="session", width=360)
    found = [r for r in cache.edge_latencies().residuals if r.example.target.device == name]
    error, factor = typical_error(found)
    seen = [Seen(_row_name(r), r.measured.value, _ends(r.predicted), r.example.own) for r in found]
    alt = f"{len(found)} published latencies on {name}: median error {error:.0%}, 80 % within a factor of {factor:.2f}."
    listed = [
        {"network": _row_name(r), "measured": human(r.measured), "predicted": human(r.predicted),
         "80 % interval": interval(r.predicted), "residual": f"{r.ratio - 1:+.0%}", "source": r.example.source}
        for r in found
    ]  # fmt: skip
    quantity.chart(draw(seen, factor, _seconds), listed, "edge-agreement-chart", alt)
    st.caption(f"{alt} Every prediction is from a fit that saw no row of that network on any device.")


def _row_name(residual: Residual) -> str:
    target = residual.example.target
    return f"{residual.example.model}, {target.engine} {target.arithmetic}"
