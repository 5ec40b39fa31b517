"""What each path through a network takes on a device: a table per block, from which expected times are sums.

The additive latency model of Cai, Zhu, Han, "ProxylessNAS", ICLR 2019, arXiv 1812.00332, section 3.3, with the device's
roofline in the place of timed operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from vitedge_core.cost.devices import Device
from vitedge_core.cost.roofline import roofline
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import BLOCK_LAYERS, Half, Op, Plan

Bits = tuple[int, int]  # of weights and of activations
Times = dict[tuple[int, str], float]


@dataclass(frozen=True, slots=True)
class BlockTimes:
    """Seconds of one block. halves: what follows the number of heads, and of neurons, beside the four layers, by
    candidate; layers: for each of `BLOCK_LAYERS` by candidate width and candidate bits; rest: what no choice changes.
    """

    halves: tuple[tuple[float, ...], tuple[float, ...]]
    layers: tuple[tuple[tuple[float, ...], ...], ...]
    rest: float


@dataclass(frozen=True, slots=True)
class PathTimes:
    """fixed: seconds outside the blocks that can be chosen; blocks: by the number of the block in the plan."""

    fixed: float
    blocks: dict[int, BlockTimes]


def path_times(
    plan: Plan, device: Device, heads: dict[int, Sequence[int]], hidden: dict[int, Sequence[int]], bits: Sequence[Bits]
) -> PathTimes:
    """The table.

    Args:
        plan: Of the whole network.
        device: Whose roofline is asked.
        heads: Candidates of each block that can be chosen; all have as many.
        hidden: The same for neurons.
        bits: Candidates of every layer, the first of them float.

    Raises:
        VitEdgeError: The device's peak or bandwidth is not published.
    """
    times: dict[tuple[int, int], Times] = {}
    blocks = list(heads)
    paths = [f"{plan.blocks[index].path}.{layer}" for index in blocks for layer in BLOCK_LAYERS]
    for width in range(max(len(heads[blocks[0]]), len(hidden[blocks[0]]))):
        narrowed = plan
        for index in blocks:
            narrowed = narrowed.keep_heads(index, heads[index][min(width, len(heads[index]) - 1)])
            if hidden[index]:
                narrowed = narrowed.keep_hidden(index, hidden[index][min(width, len(hidden[index]) - 1)])
        for number, (weights, activations) in enumerate(bits):
            rounded = narrowed.set_bits(paths, weights=weights, activations=activations, scales=lambda op: 0)
            times[width, number] = _seconds(rounded, device)
    counts = {index: (len(heads[index]), max(len(hidden[index]), 1)) for index in blocks}
    table = {index: _block(index, times, counts[index], len(bits)) for index in blocks}
    whole = times[0, 0]
    return PathTimes(sum(seconds for (block, _), seconds in whole.items() if block not in table), table)


def _seconds(plan: Plan, device: Device) -> Times:
    """Seconds by the number of the block (-1 outside) and, inside, the layer or the half of the block."""
    found = roofline(plan, device)
    if found.missing:
        raise VitEdgeError(f"{found.missing[0]} A search needs its roofline: choose a device with published figures.")
    working = [op for op in plan.ops if op.macs or op.reads or op.writes]  # the operations of the points, in order
    seconds: Times = defaultdict(float)
    for op, point in zip(working, found.points, strict=True):
        seconds[op.block, _slot(plan, op)] += point.seconds
    return seconds


def _slot(plan: Plan, op: Op) -> str:
    if op.block < 0:
        return ""
    name = op.path.removeprefix(f"{plan.blocks[op.block].path}.")
    return name if name in BLOCK_LAYERS else op.half.value


def _block(index: int, times: dict[tuple[int, int], Times], widths: tuple[int, int], bits: int) -> BlockTimes:
    """The table of one block; widths: how many candidates for heads and for neurons."""

    def of_layer(layer: str, count: int) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(times[width, b][index, layer] for b in range(bits)) for width in range(count))

    halves = [
        tuple(times[width, 0][index, half.value] for width in range(count))
        for half, count in zip((Half.ATTENTION, Half.MLP), widths, strict=True)
    ]
    layers = tuple(of_layer(layer, widths[number // 2]) for number, layer in enumerate(BLOCK_LAYERS))
    return BlockTimes((halves[0], halves[1]), layers, times[0, 0][index, Half.NONE.value])
