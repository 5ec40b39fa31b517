"""Where a recipe's time really goes, kind by kind, beside what this machine's roofline says it should take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vitedge_core.compress import compress
from vitedge_core.cost import own_devices
from vitedge_core.cost.roofline import roofline
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.engines import example_of
from vitedge_core.experiments.evaluate import section
from vitedge_core.measure.kinds import KindTimes, kind_times
from vitedge_core.measure.machine import this_machine
from vitedge_core.plan import FLOAT_BITS, Kind, Plan
from vitedge_core.recipe import Recipe

Report = Callable[[float, str], None]
Cancel = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Spent:
    """A recipe's time by kind: measured in eager PyTorch on one thread, and under this machine's roofline.

    roof: the least the kind can take here; None where the kind moves nothing. rounded: whether bits are simulated in
    float, so that the roofline is that of floats.
    """

    times: KindTimes
    roof: tuple[tuple[Kind, Quantity], ...]
    rounded: bool


def spent(
    recipe: Recipe, *, seconds: float = 3.0, report: Report = lambda share, sentence: None,
    cancelled: Cancel = lambda: False,
) -> Spent:  # fmt: skip
    """Carry a recipe out, watch one image pass, and put the machine's roofline beside it; measures the machine once.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
        Cancelled: `cancelled` said so.
    """
    done = compress(recipe, report=section(report, 0.0, 0.4), cancelled=cancelled)
    machine = own_devices.this_machine() or this_machine(report=section(report, 0.4, 0.6), cancelled=cancelled)
    plan = done.last
    part = section(report, 0.6, 1.0)
    times = kind_times(done.model, plan, example_of(plan), seconds=seconds, report=part, cancelled=cancelled)
    found = roofline(in_float(plan), machine.device)
    source = f"roofline of this machine, one thread: {found.device.source}"
    roof = tuple(
        (point.kind, Quantity(point.seconds, "s", Evidence.PREDICTED, source)) for point in found.by_kind if point.kind
    )
    return Spent(times, roof, plan.quantised)


def in_float(plan: Plan) -> Plan:
    """The plan as eager PyTorch computes it: few bits are simulated in float32."""
    return plan.map_ops(lambda op: replace(op, w_bits=FLOAT_BITS, a_bits=FLOAT_BITS, scales=0))
