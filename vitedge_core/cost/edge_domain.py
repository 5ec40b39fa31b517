"""What the published latencies cannot support, said in one sentence instead of guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from vitedge_core.cost.edge_target import Target
from vitedge_core.plan import FLOAT_BITS, Plan

Measured = Collection[tuple[Target, int]]
_MADE_FOR = {
    "HailoRT": ("hailo",),
    "RKNN": ("rk", "orange", "radxa", "rock"),
    "TensorRT": ("jetson", "nvidia", "rtx"),
    "CoreML": ("iphone", "ipad", "apple", "mac"),
}
_QUALCOMM = ("snapdragon", "qcs", "qcm", "qrb", "sa7", "sa8", "dragonwing", "galaxy", "qualcomm")
_SORTS = {"PyTorch", "onnx [CPU]"}  # their processors have kernels for sorting, gathering and scattering
_MOSTLY = 0.9  # share of the multiply-accumulates that must have the same bits


def refusal(target: Target, batch: int, measured: Measured) -> str:
    """Why no latency can be predicted there, whatever the network; empty where one can.

    Args:
        target: Where.
        batch: Images of an inference.
        measured: The targets and batches of what there is to learn from.
    """
    return place(target, measured) or _batch(target, batch, measured)


def recipe_refusal(plan: Plan, target: Target, measured: Measured) -> str:
    """Why what was done to the network cannot be predicted there; empty where it can.

    Its size is never a reason: one that nobody timed widens the interval instead.
    """
    return _bits(plan, target, measured) or _tokens(plan, target)


def place(target: Target, measured: Measured) -> str:
    """Why there is no such target; empty where there is one or its parts are known."""
    engine, arithmetic = target.engine, target.arithmetic
    of_engine = {known.arithmetic for known, _ in measured if known.engine == engine}
    if not of_engine:
        return f"Nobody published a latency with the runtime {target.runtime!r}."
    if arithmetic not in of_engine:
        known = ", ".join(sorted(of_engine))
        return f"No published latency with {target.runtime} is at {target.precision!r}; there are {known}."
    if any((known.device, known.engine) == (target.device, engine) for known, _ in measured):
        return ""
    makers = _QUALCOMM if "[NPU]" in engine else _MADE_FOR.get(engine, ())
    if makers and not any(maker in target.device.lower() for maker in makers):
        return f"{target.runtime} does not run on {target.device}."
    if any(known.chip == target.chip for known, _ in measured) or target.data_sheet:
        return ""
    return f"Nobody published a latency or a data sheet of a device {target.device!r}."


def _batch(target: Target, batch: int, measured: Measured) -> str:
    of_engine = [(known, size) for known, size in measured if known.engine == target.engine]
    sizes = {size for known, size in of_engine if known.device == target.device} or {size for _, size in of_engine}
    if batch in sizes:
        return ""
    listed = " and ".join(map(str, sorted(sizes)))
    return (
        f"Nobody published a latency of {batch} images at once with {target.runtime}; measured are batches of {listed}."
    )


def _bits(plan: Plan, target: Target, measured: Measured) -> str:
    bits, share = main_bits(plan)
    if bits == (FLOAT_BITS, FLOAT_BITS) and share >= _MOSTLY:
        return ""
    if share < _MOSTLY:
        return "The recipe mixes widths of numbers, and no published latency is of such a mixture."
    if bits == target.bits:
        return ""
    others = {known.precision for known, _ in measured if known.device == target.device and known.bits == bits}
    way_out = f"; choose {' or '.join(sorted(others))}" if others else ", and no published latency on this device is"
    return f"With weights of {bits[0]} and activations of {bits[1]} bits the recipe is not {target.precision}{way_out}."


def main_bits(plan: Plan) -> tuple[tuple[int, int], float]:
    """Bits of weights and activations of most of the products with weights, and the share of MACs that have them."""
    macs: Counter[tuple[int, int]] = Counter()
    for op in plan.ops:
        if op.macs and op.weights:
            macs[op.w_bits, op.a_bits] += op.macs
    if not macs:
        return (FLOAT_BITS, FLOAT_BITS), 1.0
    bits, most = macs.most_common(1)[0]
    return bits, most / macs.total()


def _tokens(plan: Plan, target: Target) -> str:
    if not plan.merges_tokens or target.engine in _SORTS:
        return ""
    return (
        f"The recipe merges tokens: every layer keeps a fixed size, but which tokens meet depends on the image, and no"
        f" published latency with {target.runtime} is of a network that sorts, gathers and scatters."
    )


def plan_flags(plan: Plan) -> tuple[str, ...]:
    """What a reader must know of a prediction for this plan."""
    flags = []
    if plan.merges_tokens:
        flags.append("No published row merges tokens: sorting and gathering count as ordinary operations.")
    if plan.zeros:
        flags.append("Zeros change nothing: the published runtimes multiply by them.")
    if not plan.exact:
        flags.append("What the recipe removes depends on the weights; the shapes are an estimate.")
    return tuple(flags)
