"""Which published latencies the model learns from, and why the others are kept apart or rejected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from vitedge_core.cost.edge_model import Example
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import NAMES, Features
from vitedge_core.published.latencies import Published, PublishedNetwork, latencies, latency_networks


@dataclass(frozen=True, slots=True)
class Row:
    """A published latency with what the model needs of it."""

    published: Published
    example: Example


@dataclass(frozen=True, slots=True)
class Refused:
    """A published latency that the model must not learn from, and the sentence that says why."""

    published: Published
    reason: str


@cache
def imported() -> tuple[tuple[Row, ...], tuple[Refused, ...]]:
    """Every published latency: those to learn from, and those that are not."""
    rows, refused = [], []
    for published in latencies():
        row = _imported(published)
        (rows if isinstance(row, Row) else refused).append(row)
    return tuple(rows), tuple(refused)


def rows() -> tuple[Row, ...]:
    """The published latencies to learn from."""
    return imported()[0]


def refused() -> tuple[Refused, ...]:
    """The published latencies that are kept apart or rejected."""
    return imported()[1]


def _imported(published: Published) -> Row | Refused:
    network = latency_networks()[published.model]
    if published.apart:
        return Refused(published, f"Kept apart: {published.apart}.")
    if network.lacking:
        return Refused(published, f"Kept apart: {network.lacking}")
    target = Target(published.device, published.runtime, published.precision)
    example = Example(
        target, counted(network), published.batch, published.seconds, same_network(network), published.model,
        published.source,
    )  # fmt: skip
    impossible = beyond_peak(example)
    return Refused(published, f"Rejected: {impossible}") if impossible else Row(published, example)


def counted(network: PublishedNetwork) -> Features:
    """What the trace counted on a published network."""
    return Features(**{name: network.counts[name] for name in NAMES})


def same_network(network: PublishedNetwork) -> tuple[str, int, bool]:
    """Equal for printed names of one network at one size of the image; a ViT with batch norms is another network."""
    return network.network, network.image, bool(network.counts["folded_norms"])


def beyond_peak(example: Example) -> str:
    """The sentence that says that a latency is shorter than the chip's peak allows; empty where it is possible."""
    peak = example.target.macs_per_second
    macs = example.features.macs * example.batch
    if peak is None or macs <= peak * example.seconds:
        return ""
    share = macs / (peak * example.seconds)
    return (
        f"{macs / 1e9:.3g} GMAC in {example.seconds * 1e3:.3g} ms would need {share:.3g} times the peak that the data"
        f" sheet of {example.target.device} promises."
    )
