"""A recipe on many edge devices at once: a row for each device, runtime and precision, or the sentence why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vitedge_core.cost.budget import Budget, Fit, holds, together, within
from vitedge_core.cost.calibration import Calibration
from vitedge_core.cost.devices import Device
from vitedge_core.cost.edge_latency import EdgeLatencies, OutOfDomain, Prediction, Residual
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.energy import energy
from vitedge_core.cost.memory import peak_memory
from vitedge_core.cost.own_devices import calibrated_device
from vitedge_core.cost.own_latency import predict
from vitedge_core.cost.roofline import Bound, roofline
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Op, Plan

OWN_RUNTIME = "PyTorch, calibrated"


@dataclass(frozen=True, slots=True)
class EdgeRow:
    """A recipe on one device, runtime and precision; of one inference of the batch.

    latency None: out of domain, `why` says so. before: the baseline's latency. memory, joules: at the target's
    precision. bound: "compute", "memory", "overhead", or "" where no data sheet tells. nearest: the measured row most
    like it. own: it was calibrated by the user.
    """

    target: Target
    device: Device | None
    batch: int
    latency: Quantity | None
    before: Quantity | None
    memory: Quantity
    joules: Quantity
    bound: str
    nearest: Residual | None = None
    why: str = ""
    flags: tuple[str, ...] = ()
    own: bool = False

    @property
    def kind(self) -> str:
        """ "cpu", "gpu", "npu" or "unknown"."""
        return "cpu" if self.own else kind_of(self.target)

    @property
    def images_per_second(self) -> float | None:
        """Throughput of such inferences one after the other."""
        return None if self.latency is None else self.batch / self.latency.value

    def fits(self, budget: Budget) -> tuple[Fit, Fit, Fit, Fit]:
        """Time, memory (the budget's and the device's own), energy, and all of them together."""
        time = Fit.UNKNOWN if self.latency is None else within(self.latency, budget.seconds)
        memory = within(self.memory, budget.bytes)
        own = holds(self.memory, self.device.memory if self.device else ())
        memory = memory if own is Fit.UNKNOWN else together((memory, own))
        joules = within(self.joules, budget.joules)
        return time, memory, joules, together((time, memory, joules))


def kind_of(target: Target) -> str:
    """What a target computes on: "cpu", "gpu" or "npu", as its runtime, its name or its data sheet says."""
    for word in ("NPU", "GPU", "CPU"):
        if word in f"{target.runtime} {target.device}":
            return word.lower()
    return target.data_sheet.kind if target.data_sheet else "unknown"


def edge_rows(
    before: Plan, after: Plan, targets: Sequence[Target], latencies: EdgeLatencies,
    *, boards: Sequence[Calibration] = (), batch: int = 1,
) -> tuple[EdgeRow, ...]:  # fmt: skip
    """A row for each board of one's own and for each target, in that order.

    Args:
        before: The baseline.
        after: What the recipe makes of it.
        targets: Where.
        latencies: The model of the published latencies.
        boards: Calibrated devices.
        batch: Images of an inference.
    """
    old = latencies.predict_all(before, targets, batch)
    new = old if after is before else latencies.predict_all(after, targets, batch)
    costs = _Costs(after, batch)
    own = [_own(board, before, after, costs, batch) for board in boards]
    return (*own, *(_row(target, a, b, costs, batch) for target, a, b in zip(targets, old, new, strict=True)))


def at_precision(plan: Plan, target: Target) -> tuple[Plan, int]:
    """The plan as the target's precision carries it out, and how wide it keeps what is float."""
    weights, activations = target.bits or (FLOAT_BITS, FLOAT_BITS)
    if not target.arithmetic.startswith("w"):
        return plan, weights

    def edit(op: Op) -> Op:
        if not op.macs:
            return op
        return replace(
            op, w_bits=min(op.w_bits, weights) if op.weights else op.w_bits, a_bits=min(op.a_bits, activations)
        )

    return plan.map_ops(edit), FLOAT_BITS


class _Costs:
    """Memory and energy of a plan at the precisions that occur, each counted once."""

    def __init__(self, plan: Plan, batch: int) -> None:
        self._plan, self._batch = plan, batch
        self._known: dict[tuple[object, str], tuple[Quantity, Quantity]] = {}

    def of(self, target: Target) -> tuple[Quantity, Quantity]:
        key = (target.bits, target.arithmetic[:1])
        if key not in self._known:
            plan, float_bits = at_precision(self._plan, target)
            joules = energy(plan, float_bits).total
            source = f"weights and activations alive at once, kept as {target.precision}"
            held = Quantity(
                peak_memory(plan, self._batch) * float_bits / FLOAT_BITS, "byte", Evidence.PREDICTED, source
            )
            self._known[key] = held, _times(joules, self._batch)
        return self._known[key]


def _times(quantity: Quantity, count: int) -> Quantity:
    low, high = (None if end is None else end * count for end in (quantity.low, quantity.high))
    return replace(quantity, value=quantity.value * count, low=low, high=high)


def _row(
    target: Target, before: Prediction | OutOfDomain, after: Prediction | OutOfDomain, costs: _Costs, batch: int
) -> EdgeRow:
    memory, joules = costs.of(target)
    old = before.latency if isinstance(before, Prediction) else None
    if isinstance(after, OutOfDomain):
        return EdgeRow(target, target.data_sheet, batch, None, old, memory, joules, "", why=after.reason)
    return EdgeRow(
        target, target.data_sheet, batch, after.latency, old, memory, joules, after.bound, after.nearest,
        flags=after.flags,
    )  # fmt: skip


def _own(board: Calibration, before: Plan, after: Plan, costs: _Costs, batch: int) -> EdgeRow:
    target, device = Target(board.name, OWN_RUNTIME, "fp32"), calibrated_device(board)
    memory, joules = costs.of(target)
    old = _predicted(board, before, batch)
    try:
        latency = predict(board, after, batch)
    except VitEdgeError as error:
        return EdgeRow(target, device, batch, None, old, memory, joules, "", why=str(error), own=True)
    bound = roofline(after, device).bound
    return EdgeRow(
        target, device, batch, latency, old, memory, joules, "" if bound is Bound.UNKNOWN else bound.value, own=True
    )


def _predicted(board: Calibration, plan: Plan, batch: int) -> Quantity | None:
    try:
        return predict(board, plan, batch)
    except VitEdgeError:
        return None
