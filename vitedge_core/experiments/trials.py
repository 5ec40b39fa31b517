"""One network, changed in one place at a time: the runs behind a sensitivity map.

What stands before the changed block gives the same as ever, so it runs once: what enters every block is kept, and a
trial runs the changed block and those behind it only.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitedge_core.explain.observer import shell_of
from vitedge_core.plan import Plan
from vitedge_core.surgery.capture import inputs_of
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.replace import put
from vitedge_core.surgery.structure import Kept, cut
from vitedge_core.techniques.base import Context, settled
from vitedge_core.techniques.quantization.uniform_ptq import Site, UniformPtq

HEAD, MLP, BLOCK, BITS = "head", "MLP", "block", "bits"
WIDTHS = (8, 4, 3, 2)  # bits that are tried
Roundings = Mapping[int, UniformPtq]  # by number of bits, decided for the whole network


@dataclass(frozen=True, slots=True)
class Change:
    """What is done in one place: the head of a number, the MLP or the whole block removed, or a number of bits."""

    kind: str
    number: int = 0

    @property
    def title(self) -> str:
        """For people; heads are counted from 1."""
        if self.kind == HEAD:
            return f"head {self.number + 1}"
        return f"{self.number} bits" if self.kind == BITS else {MLP: "MLP", BLOCK: "whole block"}[self.kind]


def roundings(plan: Plan, network: nn.Module, context: Context) -> tuple[Roundings, tuple[str, ...]]:
    """Uniform quantisation with each number of bits; none, and a sentence, where the network refuses it."""
    found = {}
    for bits in WIDTHS:
        technique = UniformPtq(w_bits=bits, a_bits=bits)
        if why := technique.supports(plan):
            return {}, (f"No trials with fewer bits: {why}",)
        found[bits] = technique.decide(network, plan, context)
    return found, ()


class Trials:
    """Trials on a network without transformer blocks: its layers get fewer bits one at a time, and all of it runs.

    names: of the places. network: left as it is. shown: batches of images. context: calibration images.
    """

    def __init__(
        self, network: nn.Module, shown: Sequence[Tensor], context: Context, rounding: Roundings
    ) -> None:  # fmt: skip
        self.network, self.shown, self.context, self.rounding = network, shown, context, rounding
        self.names = tuple(dict.fromkeys(site.path for found in rounding.values() for site in found.sites or ()))

    @torch.no_grad()
    def untouched(self) -> Tensor:
        """Logits of the network as it is, [n, K]; comes first."""
        return torch.cat([self.network(images) for images in self.shown])

    def all(self) -> Iterator[tuple[int, Change]]:
        """Number of a place, and what to do there."""
        return ((place, Change(BITS, bits)) for place in range(len(self.names)) for bits in self.rounding)

    @torch.no_grad()
    def run(self, place: int, change: Change) -> Tensor:
        """Logits with that change, [n, K]."""
        technique = self.rounding[change.number]
        sites = [site for site in technique.sites or () if site.path == self.names[place]]
        changed = _rounded(technique, copy.deepcopy(self.network), sites, self.context)
        return torch.cat([changed(images) for images in self.shown])


class BlockTrials(Trials):
    """Trials on transformer blocks, each cut short.

    A shell of the network runs in which the blocks before the changed one pass on what they get, and the changed one
    takes what is kept, whatever arrives.
    """

    def __init__(
        self, network: nn.Module, shown: Sequence[Tensor], context: Context, rounding: Roundings
    ) -> None:  # fmt: skip
        super().__init__(network, shown, context, rounding)
        self.handles = blocks(network)
        self.names = tuple(f"Block {number + 1}" for number in range(len(self.handles)))
        self._entered: list[list[Tensor]] = []  # by batch, by block
        self._calibration: list[Tensor] = []  # by block

    @torch.no_grad()
    def untouched(self) -> Tensor:
        """Logits of the network as it is, [n, K]; keeps what enters its blocks."""
        modules, logits = [handle.block for handle in self.handles], []
        shell_inputs = self.context.images if self.rounding else self.shown[0][:1]
        with inputs_of(modules) as entered:
            self.network(shell_inputs)
            self._calibration = [entered[module] for module in modules]
            for images in self.shown:
                logits.append(self.network(images))
                self._entered.append([entered[module] for module in modules])
        return torch.cat(logits)

    def all(self) -> Iterator[tuple[int, Change]]:
        """Number of a block, and what to do to it."""
        for place, handle in enumerate(self.handles):
            if handle.editable and handle.heads > 1:
                yield from ((place, Change(HEAD, head)) for head in range(handle.heads))
            if hasattr(handle.block, "mlp"):
                yield place, Change(MLP)
            yield place, Change(BLOCK)
            yield from ((place, Change(BITS, bits)) for bits in self.rounding)

    @torch.no_grad()
    def run(self, place: int, change: Change) -> Tensor:
        """Logits with that change, [n, K]."""
        given = _Given(self.changed(place, change))
        shell = shell_of(self.network)
        for handle in self.handles[:place]:
            put(shell, handle.path, _Pass())
        put(shell, self.handles[place].path, given)
        logits = []
        for images, entered in zip(self.shown, self._entered, strict=True):
            given.entered = entered[place]
            logits.append(shell(images))
        return torch.cat(logits)

    def changed(self, place: int, change: Change) -> nn.Module:
        """A copy of the block with that change."""
        handle = self.handles[place]
        if change.kind == BLOCK:
            return _Pass()
        block: Any = copy.deepcopy(handle.block)
        if change.kind == HEAD:
            staying = tuple(head for head in range(handle.heads) if head != change.number)
            cut(replace(handle, block=block, attn=block.attn, mlp=None), Kept(staying, ()))
        elif change.kind == MLP:
            block.mlp = _Nothing()
        else:
            technique, inside = self.rounding[change.number], f"{handle.path}."
            sites = [s for s in technique.sites or () if s.path.startswith(inside)]
            local = [replace(site, path=site.path.removeprefix(inside)) for site in sites]
            block = _rounded(technique, block, local, replace(self.context, images=self._calibration[place]))
        return block


def _rounded(technique: UniformPtq, module: nn.Module, sites: Sequence[Site], context: Context) -> nn.Module:
    """The module with these of the technique's sites on grids, whose ranges the context's images set."""
    fresh = replace(context, generator=torch.Generator().manual_seed(0))
    return settled(technique, sites=tuple(sites)).apply(module, fresh).eval()


class _Pass(nn.Module):
    """Passes on what it gets."""

    def forward(self, x: Tensor, *rest: object, **named: object) -> Tensor:
        """The same."""
        return x


class _Nothing(nn.Module):
    """Adds nothing."""

    def forward(self, x: Tensor) -> Tensor:
        """Zeros of the same shape."""
        return torch.zeros_like(x)


class _Given(nn.Module):
    """A block that takes `entered` instead of what arrives."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.entered: Tensor | None = None

    def forward(self, x: Tensor, *rest: object, **named: object) -> Tensor:
        """What the block makes of what was kept."""
        return self.block(self.entered)
