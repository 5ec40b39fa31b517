"""Pairs of published rows that contradict what most people expect: fewer bits and slower, or fallen back to the CPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

from vitedge_core.cost.edge_target import Target
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.published.latencies import Published, latencies

SLOWER = 1.1  # times; less is within the scatter of published figures
FALLEN_BACK = 3.0
FEWER_BITS, FALL_BACK = "fewer bits, yet slower", "fallen back to the CPU"


@dataclass(frozen=True, slots=True)
class Surprise:
    """One network on one device, timed twice. kind: `FEWER_BITS` or `FALL_BACK`."""

    kind: str
    faster: Published
    slower: Published

    @property
    def ratio(self) -> float:
        """How many times slower."""
        return self.slower.seconds / self.faster.seconds

    @property
    def quantities(self) -> tuple[Quantity, Quantity]:
        """Both latencies, the faster first."""
        first, second = (
            Quantity(row.seconds, "s", Evidence.PUBLISHED, row.source) for row in (self.faster, self.slower)
        )
        return first, second


def surprises(device: str = "", runtime: str = "", precision: str = "") -> tuple[Surprise, ...]:
    """The surprises that a choice of target should know of, the largest first.

    Args:
        device: Only on this one; empty is any.
        runtime: One of the two rows was timed with it; empty is any.
        precision: One of the two rows has it; empty is any.
    """
    return tuple(
        surprise for surprise in _all()
        if device in {"", surprise.slower.device}
        and any(runtime in {"", row.runtime} and precision in {"", row.precision}
                for row in (surprise.faster, surprise.slower))
    )  # fmt: skip


@cache
def _all() -> tuple[Surprise, ...]:
    timed: dict[tuple[str, str, int], list[Published]] = defaultdict(list)
    for row in latencies():
        if not row.apart:
            timed[row.device, row.model, row.batch].append(row)
    found = [surprise for same in timed.values() for surprise in (*_fewer_bits(same), *_fall_back(same))]
    return tuple(sorted(found, key=lambda surprise: -surprise.ratio))


def _fewer_bits(timed: Sequence[Published]) -> Iterator[Surprise]:
    for faster, slower in permutations(timed, 2):
        more, fewer = _width(faster), _width(slower)
        if faster.runtime == slower.runtime and fewer < more and slower.seconds > SLOWER * faster.seconds:
            yield Surprise(FEWER_BITS, faster, slower)


def _fall_back(timed: Sequence[Published]) -> Iterator[Surprise]:
    """The quickest run on the NPU beside each run on the CPU of the same chip."""
    npu = [row for row in timed if "[NPU]" in row.runtime]
    if npu:
        best = min(npu, key=lambda row: row.seconds)
        for row in timed:
            if "[CPU]" in row.runtime and row.seconds > FALLEN_BACK * best.seconds:
                yield Surprise(FALL_BACK, best, row)


def _width(row: Published) -> int:
    """Bits of a weight and an activation together; a mixture counts as the fewer of its bits."""
    bits = Target(row.device, row.runtime, row.precision).bits
    return sum(bits) if bits else 0
