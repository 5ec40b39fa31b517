"""The roofline of the current recipe on a chosen device, a card for the layer that was clicked, and the energy."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.cost.energy import at_full_power, energy
from vitedge_core.cost.own_devices import THIS_MACHINE, all_devices, any_device
from vitedge_core.cost.roofline import Bound, Point, Roofline, activation_bytes, roofline, weight_bytes
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plots.build import spoken
from vitedge_core.plots.roofline import Dot
from vitedge_core.plots.roofline import roofline as draw
from vitedge_core.text.human import human
from vitedge_core.ui import cache, quantity, state, units, waiting
from vitedge_core.ui.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitedge_core.compress import Planned
    from vitedge_core.cost.devices import Device
    from vitedge_core.plan import Plan

FIRST = "Raspberry Pi 5"
VIEWS = {"points": "Layers", "by_kind": "Kinds", "by_block": "Blocks"}
BOUNDS = {Bound.COMPUTE: "arithmetic", Bound.MEMORY: "memory", Bound.UNKNOWN: "unknown"}
_MACHINE = ("machine",)


def panel(planned: Planned) -> None:
    """Device, roofline before and after, what was clicked, and the energy of one inference."""
    device, float_bits = _device()
    view = st.segmented_control(
        "Marks", list(VIEWS), format_func=VIEWS.__getitem__, default="points", required=True, key="roofline-view",
        persist_state="session",
    )  # fmt: skip
    before, after = (roofline(plan, device, float_bits) for plan in (planned.plans[0], planned.last))
    for sentence in dict.fromkeys((*after.missing, *before.missing)):
        st.info(sentence, icon=":material/help:")
    _times(before, after)
    if device.bandwidth and after.peaks:
        _chart(before, after, view, planned.last)
    else:
        quantity.twin(_rows(before, after, view), "roofline", "Operations of the network and what they move.")
    _energy(planned, device, after.seconds, float_bits)


def _device() -> tuple[Device, int]:
    """Which device, and how wide it keeps floats; offers to measure this machine."""
    names = [device.name for device in all_devices()]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.selectbox(
            "Device", names, index=names.index(FIRST), key="roofline-device", persist_state="session", width=360
        )
        device = any_device(name)
        widths = [bits for bits in (32, 16) if any(held == bits for held, _ in device.peaks)] or [32]
        bits = st.segmented_control(
            "Floats have", widths, format_func=lambda bits: f"{bits} bits", default=widths[0], required=True,
            key=f"roofline-floats-{name}", disabled=len(widths) == 1,
            help="Many runtimes keep floats in half precision. What a recipe quantises keeps its own bits.",
        )  # fmt: skip
        label = "Measure this machine" if THIS_MACHINE not in names else "Measure this machine again"
        if st.button(label, key="roofline-machine", icon=":material/speed:", type="tertiary"):
            waiting.start(_MACHINE)
            cache.background(_MACHINE, _measure_machine)
    waiting.line(_MACHINE)
    return device, bits


def _measure_machine(report: Any, cancelled: Any) -> Any:
    from vitedge_core.measure.machine import this_machine

    return this_machine(report=report, cancelled=cancelled)


def _times(before: Roofline, after: Roofline) -> None:
    if after.seconds is None or after.floor is None:
        return
    with st.grid(4, min_column_width=150):
        quantity.metric("Time under the roof", after.seconds, before.seconds, key="roof-seconds",
                        help="Each operation at the peak or at the memory's bandwidth, in turn.")  # fmt: skip
        quantity.metric("Floor", after.floor, before.floor, key="roof-floor",
                        help="Even with every value reused on the chip it cannot be faster.")  # fmt: skip
        quantity.metric("Waits for memory", _share(after), _share(before), key="roof-memory",
                        help="Share of the time under the roof in which memory is the bottleneck.")  # fmt: skip


def _share(found: Roofline) -> Quantity:
    source = f"operations left of the roof's ridge, weighted by their time on {found.device.name}"
    return Quantity(found.memory_share, "share", Evidence.PREDICTED, source)


def _chart(before: Roofline, after: Roofline, view: str, plan: Plan) -> None:
    old, new = _dots(getattr(before, view)), _dots(getattr(after, view))
    factor, unit = units.axis("MAC")
    peaks = [(bits, factor * peak) for bits, peak in after.peaks]
    figure = draw(peaks, after.device.bandwidth or 1.0, [] if old == new else old, new, unit=unit)
    silent = sum(point.share for point in after.points if not point.macs)
    alt = (
        f"Roofline of {after.device.name}: {len(new)} marks, {human(_share(after))} of the time waits for memory; "
        f"the largest share is that of {max(new, key=lambda dot: dot.share).key if new else 'nothing'}."
    )
    picked = quantity.chart(figure, _rows(before, after, view), "roofline", alt, on_select="rerun")
    st.caption(
        "Left of the bend an operation waits for memory, right of it for arithmetic; the area of a mark is its share "
        f"of the time. Norms, activations and copies multiply nothing, so they have no mark: {silent:.0%} of the time. "
        "Click a mark for its shapes and bytes."
    )
    keys = [point["customdata"][0] for point in picked.selection.points if point.get("customdata")]
    if keys:
        state.remember("roofline-mark", keys[0])
    _card(after, view, plan, state.recall("roofline-mark"))


def _dots(points: Sequence[Point]) -> list[Dot]:
    factor, _ = units.axis("MAC")
    return [
        Dot(
            point.label,
            point.kind,
            factor * point.intensity,
            factor * point.macs_per_second,
            point.share,
            _hover(point),
        )
        for point in points
        if point.macs and point.seconds
    ]


def _hover(point: Point) -> str:
    return "<br>".join((
        f"<b>{escape(spoken(point.label))}</b>", f"{counted(point.macs, 'MAC')}, {counted(point.moved, 'byte')} moved",
        _intensity(point), f"waits for {BOUNDS[point.bound]}",
        f"{counted(point.seconds, 's')}, {point.share:.1%} of the time",
    ))  # fmt: skip


def _card(found: Roofline, view: str, plan: Plan, key: str | None) -> None:
    """What was clicked last, if this view has it."""
    point = next((point for point in getattr(found, view) if point.label == key), None)
    if point is None:
        return
    seconds = Quantity(point.seconds, "s", Evidence.PREDICTED, f"roofline of {found.device.name}")
    share = Quantity(point.share, "share", Evidence.PREDICTED, f"of the time under the roof of {found.device.name}")
    with st.container(border=True):
        st.markdown(f"**{spoken(point.label)}** :gray[{point.kind.value if point.kind else 'several kinds'}]")
        with st.grid(4, min_column_width=140):
            quantity.metric("Time at best", seconds, key="mark-seconds")
            quantity.metric("Share of the time", share, key="mark-share")
            quantity.metric(
                units.operations(), Quantity.exact(point.macs, "MAC", "counted on its shapes"), key="mark-macs"
            )
            quantity.metric("Bytes moved", Quantity.exact(point.moved, "byte", "operands and result"), key="mark-moved")
        st.markdown("\n".join(_facts(point, plan, found.float_bits) if view == "points" else [_waits(point)]))


def _facts(point: Point, plan: Plan, float_bits: int) -> list[str]:
    op = next(op for op in plan.ops if op.path == point.label)
    lines = [_waits(point)]
    if op.macs:
        lines.append(f"- Shape: {op.rows:,} rows of {op.inputs:,} inputs give {op.outputs:,} outputs each.")
    weights, activations = weight_bytes(op, float_bits), activation_bytes(op, float_bits)
    lines.append(
        f"- Bytes: {counted(weights, 'byte')} of weights at {op.w_bits} bits, {counted(activations, 'byte')} of "
        f"activations read at {op.a_bits} bits and written."
    )
    return lines


def _waits(point: Point) -> str:
    reached = f"{counted(point.macs_per_second, 'MAC')}/s" if point.macs else "no multiplications"
    return f"- Waits for {BOUNDS[point.bound]}: {_intensity(point)}, {reached} at best."


def _intensity(point: Point) -> str:
    factor, unit = units.axis("MAC")
    return f"{factor * point.intensity:.3g} {unit} for each byte"


def _rows(before: Roofline, after: Roofline, view: str) -> list[dict[str, Any]]:
    old = {point.label: point for point in getattr(before, view)}
    return [
        {"part": spoken(point.label), "kind": point.kind.value if point.kind else "several",
         units.operations(): counted(point.macs, "MAC"), "bytes": counted(point.moved, "byte"),
         "operations for each byte": _intensity(point).removesuffix(" for each byte"), "waits for": BOUNDS[point.bound],
         "time at best": counted(point.seconds, "s") if point.seconds else "unknown",
         "share of the time": f"{point.share:.1%}", "time before": _before(old.get(point.label))}
        for point in getattr(after, view)
    ]  # fmt: skip


def _before(point: Point | None) -> str:
    return "" if point is None else counted(point.seconds, "s") if point.seconds else "unknown"


def _energy(planned: Planned, device: Device, seconds: Quantity | None, float_bits: int) -> None:
    """Joules of one inference, and where they go."""
    before, after = (energy(plan, float_bits) for plan in (planned.plans[0], planned.last))
    st.subheader("Energy of one inference", anchor=False)
    with st.grid(4, min_column_width=150):
        for name, title in (("total", "Energy"), ("arithmetic", "Arithmetic"), ("weights", "Weights from DRAM"),
                            ("activations", "Activations")):  # fmt: skip
            quantity.metric(title, getattr(after, name), getattr(before, name), key=f"energy-{name}")
    bound = None if seconds is None else at_full_power(device, seconds)
    said = f"{device.name}: no power is published." if device.power is None else ""
    if bound is not None:
        said = f"{device.name} at its full {device.power:g} W for the time under the roof would be {human(bound)}."
    st.caption(
        f"From published costs of a 45 nm chip (Horowitz 2014): trust the change, not the joules of your chip. {said}"
    )
