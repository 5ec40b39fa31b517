"""Which units stay: the best of each layer, or of all layers together. Counts are exact; the first of equals goes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PER_LAYER, GLOBAL = "per layer", "global"
RANKINGS = (PER_LAYER, GLOBAL)


def removed(count: int, ratio: float, least: int = 0) -> int:
    """How many of `count` units go when the share `ratio` is removed and at least `least` stay."""
    return max(0, min(int(count * ratio + 0.5), count - least))


def _order(scores: Tensor) -> Tensor:
    """Numbers of the units from the least to the most important."""
    return torch.sort(scores, stable=True).indices


def best_of_each(scores: Sequence[Tensor], ratio: float, least: int) -> list[tuple[int, ...]]:
    """The units that stay when every layer loses the same share.

    Args:
        scores: Importance per layer, [units] each.
        ratio: Share of the units to remove.
        least: Units that stay in every layer at least.
    """
    return [tuple(sorted(_order(layer)[removed(len(layer), ratio, least) :].tolist())) for layer in scores]


def best_of_all(scores: Sequence[Tensor], ratio: float, least: int) -> list[tuple[int, ...]]:
    """The units that stay when the share is removed wherever it matters least; as `best_of_each` otherwise."""
    protected = [set(_order(layer)[-least:].tolist()) for layer in scores]
    owners = [(number, unit) for number, layer in enumerate(scores) for unit in range(len(layer))]
    quota = removed(len(owners), ratio)
    gone: set[tuple[int, int]] = set()
    for position in _order(torch.cat(list(scores))).tolist():
        if len(gone) == quota:
            break
        number, unit = owners[position]
        if unit not in protected[number]:
            gone.add((number, unit))
    return [
        tuple(unit for unit in range(len(layer)) if (number, unit) not in gone) for number, layer in enumerate(scores)
    ]


def smallest(values: Tensor, count: int) -> Tensor:
    """Marks exactly `count` of the values, the smallest, and the first of equals; bool, [values]."""
    if count <= 0:
        return torch.zeros_like(values, dtype=torch.bool)
    edge = values.kthvalue(count).values
    marked = values < edge
    level = (values == edge).nonzero().flatten()
    marked[level[: count - int(marked.sum())]] = True
    return marked


def best(scores: Sequence[Tensor], ratio: float, least: int, ranking: str) -> list[tuple[int, ...]]:
    """`best_of_all` if the ranking is global, else `best_of_each`."""
    return (best_of_all if ranking == GLOBAL else best_of_each)(scores, ratio, least)
