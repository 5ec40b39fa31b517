"""Removal of whole transformer blocks."""

from __future__ import annotations

from collections.abc import Collection

from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.host import blocks, parent_of


def drop_blocks(model: nn.Module, dropped: Collection[int]) -> None:
    """Take these blocks (numbers in the order of the plan) out of the lists that hold them; in place.

    The blocks behind a removed one move up, and so do their paths, as in `Plan.drop_blocks`.

    Raises:
        VitEdgeError: A list would be left empty.
    """
    handles = blocks(model)
    for index in sorted(dropped, reverse=True):
        holder, place = parent_of(model, handles[index].path)
        if not isinstance(holder, nn.Sequential | nn.ModuleList) or len(holder) == 1:
            raise VitEdgeError(f"{handles[index].path} cannot be removed: at least one block must stay in its place.")
        del holder[int(place)]
