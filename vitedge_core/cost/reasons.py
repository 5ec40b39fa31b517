"""Why a recipe is not smaller or faster than it promised, from the numbers of its plans and of its measurement.

The promise of a recipe is what it does to the operations it touches: zeros left out, fewer bits taken at their word,
as on hardware made for both. Where the file or the time stays behind that, the reasons that hold are named.
Amdahl, "Validity of the single processor approach to achieving large scale computing capabilities", AFIPS 1967.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from vitedge_core.cost.edge_domain import main_bits
from vitedge_core.cost.edge_surprises import surprises
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.own_devices import Machine
from vitedge_core.cost.roofline import arithmetic_bits, roofline
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.plan import FLOAT_BITS, Half, Op, Plan
from vitedge_core.published.latencies import Published

BEHIND = 1.15  # a file or a time larger than promised by less than this follows its promise
SOME_ZEROS = 0.05  # of the weights
UNTOUCHED = 0.1  # of the work or of the bytes
MEMORY = 0.3  # of the time under the roof
ODD = 0.1  # of the multiply-accumulates
CALLS = 0.25  # of the measured time
LANES = 8  # numbers that a kernel treats at once


class Cause(StrEnum):
    """What keeps a recipe from its promise."""

    ZEROS = "zeros in dense kernels"
    ROUNDING = "bits that are only simulated"
    UNTOUCHED = "parts that were not touched"
    MEMORY = "operations that wait for memory"
    ODD_CHANNELS = "channel counts that fill no vector"
    CALLS = "calls instead of arithmetic"
    FALLBACK = "a runtime that falls back"


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason: a sentence, and the numbers it rests on by name."""

    cause: Cause
    sentence: str
    evidence: tuple[tuple[str, Quantity], ...]


@dataclass(frozen=True, slots=True)
class Promise:
    """What a recipe promises and what came of it; each a ratio to the baseline.

    None where nothing was touched, or nothing is known of the time.
    """

    size: float | None
    file: Quantity | None
    work: float | None
    time: Quantity | None

    @property
    def size_follows(self) -> bool:
        """Whether the file is as small as promised."""
        return self.size is None or self.file is None or self.file.value <= BEHIND * self.size

    @property
    def time_follows(self) -> bool:
        """Whether the time is as short as promised, or could be within its interval."""
        if self.work is None or self.time is None:
            return True
        return (self.time.value if self.time.low is None else self.time.low) <= BEHIND * self.work


def promise(before: Plan, after: Plan, ratio: Quantity | None = None) -> Promise:
    """What a recipe promised, and what it keeps.

    Args:
        before: The baseline.
        after: What the recipe makes of it.
        ratio: Measured time of the compressed model over that of the baseline; without it the time of dense float
            kernels is taken to follow the multiply-accumulates.
    """
    old, new, _ = _apart(before, after)
    file = sum(op.stored_bytes for op in after.ops) / max(1, sum(op.stored_bytes for op in before.ops))
    dense = after.macs / max(1, before.macs)
    time = ratio or Quantity(dense, "ratio", Evidence.PREDICTED, "multiply-accumulates, which dense kernels carry out")
    return Promise(
        _ratio(new, old, _ideal_bits, whole=file), _predicted(file, "bytes of the weights file"),
        _ratio(new, old, _ideal_work, whole=dense), time,
    )  # fmt: skip


def reasons(
    before: Plan, after: Plan, ratio: Quantity | None = None, seconds: Quantity | None = None,
    machine: Machine | None = None,
) -> tuple[Reason, ...]:  # fmt: skip
    """The reasons that hold, most telling first; none where size and time follow.

    Args:
        before: The baseline.
        after: What the recipe makes of it.
        ratio: Measured time over the baseline's, where it is known.
        seconds: Measured time of the compressed model.
        machine: What that was measured on.
    """
    found = promise(before, after, ratio)
    if found.size_follows and found.time_follows:
        return ()
    told = [_zeros(before, after), _untouched(before, after, found)]
    if not found.time_follows:
        told.insert(1, _rounding(after))
        told += [_memory(before, after, machine), _fall_back(after)]
        told += [_odd(before, after), _calls(after, seconds, machine)] if ratio is not None else []
    return tuple(reason for reason in told if reason is not None)


def _apart(before: Plan, after: Plan) -> tuple[Counter[Op], Counter[Op], Counter[Op]]:
    """Operations that were changed or removed, what they became, and those that stayed as they are."""
    old, new = (Counter(map(_bare, plan.ops)) for plan in (before, after))
    return old - new, new - old, old & new


def _bare(op: Op) -> Op:
    """The operation without its place, which moves when a block before it goes."""
    return replace(op, path="", block=-1, half=Half.NONE, held=0, header=0)


def _ideal_work(op: Op) -> float:
    share = op.zeros / op.weights if op.weights else 0.0
    return op.macs * (1 - share) * arithmetic_bits(op) / FLOAT_BITS


def _ideal_bits(op: Op) -> float:
    return (op.weights - op.zeros) * op.w_bits


def _sum(ops: Counter[Op], of: Callable[[Op], float]) -> float:
    return sum(count * of(op) for op, count in ops.items())


def _ratio(new: Counter[Op], old: Counter[Op], of: Callable[[Op], float], *, whole: float) -> float | None:
    """Of the touched operations; where they were removed as a whole, that of the network."""
    was, now = _sum(old, of), _sum(new, of)
    if not was:
        return None
    return now / was if now else whole


def _zeros(before: Plan, after: Plan) -> Reason | None:
    weights = sum(op.weights for op in after.ops)
    share = (after.zeros - before.zeros) / max(1, weights)
    if share < SOME_ZEROS:
        return None
    touched = sum(op.macs for op in after.ops if op.zeros) / max(1, after.macs)
    return Reason(
        Cause.ZEROS,
        f"{share:.0%} of the weights became zero, and an ordinary file stores a zero as it stores any number and an "
        "ordinary kernel multiplies by it; only whole heads, neurons or blocks that go make a dense model smaller.",
        (("weights that are zero", _counted(share, "share", "zeros over weights of the plan")),
         ("MACs of layers with zeros", _counted(touched, "share", "carried out in full by a dense kernel"))),
    )  # fmt: skip


def _rounding(after: Plan) -> Reason | None:
    macs = sum(op.macs for op in after.ops if arithmetic_bits(op) < FLOAT_BITS)
    weights = sum(op.macs for op in after.ops if op.weights and op.w_bits < FLOAT_BITS)
    share = max(macs, weights) / max(1, after.macs)
    if share < UNTOUCHED:
        return None
    return Reason(
        Cause.ROUNDING,
        f"{share:.0%} of the multiplications are of rounded values, but they are carried out in float32 here: a kernel "
        "for so few bits must exist on the device, and it must convert between float and integers around every norm "
        "and softmax.",
        (("MACs of rounded values", _counted(share, "share", "operations below 32 bits, by multiply-accumulates")),
         ("conversions for each image", _counted(_conversions(after), "conversion",
                                                 "activations that a quantised operation takes from a float one"))),
    )  # fmt: skip


def _conversions(plan: Plan) -> int:
    return sum(op.a_bits < FLOAT_BITS for op in plan.ops)


def _untouched(before: Plan, after: Plan, found: Promise) -> Reason | None:
    _, new, same = _apart(before, after)
    if not new:
        return None
    work = _sum(same, lambda op: op.macs) / max(1, before.macs)
    size = _sum(same, lambda op: op.stored_bytes) / max(1, sum(op.stored_bytes for op in before.ops))
    parts, said = [], []
    if not found.time_follows and _limits(work, found.work):
        parts.append(("MACs that were not touched", _counted(work, "share", "operations that are as before")))
        said.append(f"{work:.0%} of the work")
    if not found.size_follows and _limits(size, found.size):
        parts.append(("bytes that were not touched", _counted(size, "share", "tensors that are as before")))
        said.append(f"{size:.0%} of the bytes")
    if not parts:
        return None
    sentence = (
        f"The recipe did not touch {' and '.join(said)}, and no saving elsewhere can make the whole smaller than that."
    )
    return Reason(Cause.UNTOUCHED, sentence, tuple(parts))


def _limits(share: float, touched: float | None) -> bool:
    """Amdahl: whether what was left alone keeps the whole visibly behind what was touched."""
    return touched is not None and share >= UNTOUCHED and share + (1 - share) * touched > BEHIND * touched


def _memory(before: Plan, after: Plan, machine: Machine | None) -> Reason | None:
    if machine is None:
        return None
    old, new = (roofline(plan, machine.device) for plan in (before, after))
    if old.seconds is None or new.seconds is None or not new.seconds.value or not old.seconds.value:
        return None
    dense, roof = after.macs / max(1, before.macs), new.seconds.value / old.seconds.value
    if new.memory_share < MEMORY or roof <= BEHIND * dense:
        return None
    where = f"roofline of {machine.processor}, one thread"
    return Reason(
        Cause.MEMORY,
        f"{new.memory_share:.0%} of the time under this machine's roof goes into moving bytes, which fewer "
        "multiplications do not shorten.",
        (("time that waits for memory", Quantity(new.memory_share, "share", Evidence.PREDICTED, where)),
         ("time under the roof, compared", Quantity(roof, "ratio", Evidence.PREDICTED, where)),
         ("MACs, compared", _counted(dense, "ratio", "multiply-accumulates after over before"))),
    )  # fmt: skip


def _odd(before: Plan, after: Plan) -> Reason | None:
    was, now = odd_share(before.ops), odd_share(after.ops)
    if now - was < ODD:
        return None
    return Reason(
        Cause.ODD_CHANNELS,
        f"{now:.0%} of the multiplications run over channel counts that are no multiple of {LANES}, against {was:.0%} "
        f"before: kernels take {LANES} or more numbers at once and fill up the rest with nothing.",
        (("MACs over odd channel counts", _counted(now, "share", f"inputs or outputs not divisible by {LANES}")),
         ("before", _counted(was, "share", f"inputs or outputs not divisible by {LANES}"))),
    )  # fmt: skip


def odd_share(ops: Iterable[Op]) -> float:
    """Share of the multiply-accumulates with weights whose inputs or outputs are no multiple of `LANES`."""
    products = [op for op in ops if op.macs and op.weights]
    return odd_macs(products) / max(1, sum(op.macs for op in products))


def odd_macs(ops: Iterable[Op]) -> int:
    """Multiply-accumulates with weights over channel counts that are no multiple of `LANES`."""
    return sum(op.macs for op in ops if op.weights and (op.inputs % LANES or op.outputs % LANES))


def _calls(after: Plan, seconds: Quantity | None, machine: Machine | None) -> Reason | None:
    if seconds is None or machine is None:
        return None
    calls = sum(1 for op in after.ops if op.macs or op.reads or op.writes)
    share = calls * machine.call_seconds / max(seconds.value, 1e-12)
    if share < CALLS:
        return None
    each = Quantity(machine.call_seconds, "s", Evidence.MEASURED, f"a layer with nothing to do, torch {machine.torch}")
    return Reason(
        Cause.CALLS,
        f"The model is so small that about {min(share, 1):.0%} of its time goes into calling {calls} operations, not "
        "into what they compute; narrower layers are as many calls.",
        (("operations", _counted(calls, "operation", "calls of one pass")), ("time of an empty call", each),
         ("share of the measured time", _predicted(min(share, 1.0), "calls times the time of an empty one", "share"))),
    )  # fmt: skip


def _fall_back(after: Plan) -> Reason | None:
    """The largest fall-back or slowdown that was published at the recipe's own bits, on any device."""
    bits, _ = main_bits(after)
    if bits == (FLOAT_BITS, FLOAT_BITS):
        return None
    seen = next((s for s in surprises() if _bits_of(s.slower) == bits), None)
    if seen is None:
        return None
    fast, slow = seen.quantities
    return Reason(
        Cause.FALLBACK,
        f"A runtime may have no kernel for it: on {seen.slower.device}, {seen.slower.model} at {seen.slower.precision} "
        f"with {seen.slower.runtime} was published {seen.ratio:.1f} times slower than at {seen.faster.precision} with "
        f"{seen.faster.runtime}.",
        ((f"{seen.slower.runtime}, {seen.slower.precision}", slow),
         (f"{seen.faster.runtime}, {seen.faster.precision}", fast)),
    )  # fmt: skip


def _bits_of(row: Published) -> tuple[int, int] | None:
    return Target(row.device, row.runtime, row.precision).bits


def _counted(value: float, unit: str, source: str) -> Quantity:
    return Quantity.exact(value, unit, source)


def _predicted(value: float, source: str, unit: str = "ratio") -> Quantity:
    return Quantity(value, unit, Evidence.PREDICTED, source)
