"""Putting a real model's layers and attention products on grids: which, with how many bits, on which ranges."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitedge_core.plan import FLOAT_BITS, Op, Plan
from vitedge_core.surgery.grid import AFFINE, FLOAT, MSE, SYMMETRIC, Grid, Scale, Watch, fit
from vitedge_core.surgery.open_attention import opened, operand_paths
from vitedge_core.surgery.replace import Quantised, put, with_grids

BATCH = 32
PAIR = 8  # bytes of the step and the zero point of an activation, as the file stores them
_OFFSETS = '"data_offsets":[1234567,1234567]'
Tick = Callable[[float, str], None]
Once = Callable[[object, Callable[[], Any]], Any]


@dataclass(frozen=True, slots=True)
class Site:
    """What is rounded at a path: a layer's weight and input, or (weights = 0) the operands of an attention."""

    path: str
    w_bits: int
    a_bits: int
    attention: bool = False


@dataclass(frozen=True, slots=True)
class Rounding:
    """How ranges are found and levels lie: the observer, one scale per output channel or one for all, the schemes."""

    observer: str = MSE
    by_channel: bool = True
    w_scheme: str = SYMMETRIC
    a_scheme: str = AFFINE

    def plan(self, plan: Plan, sites: Sequence[Site]) -> Plan:
        """Exact: bits by path, and the bytes of the scales."""
        alike: dict[Site, list[str]] = defaultdict(list)  # one pass over the plan for all that get the same bits
        for site in sites:
            paths = (f"{site.path}.scores", f"{site.path}.mix") if site.attention else (site.path,)
            alike[replace(site, path="")] += paths
        for site, paths in alike.items():
            plan = plan.set_bits(paths, weights=site.w_bits, activations=site.a_bits, scales=self._scale_bytes(site))
        return plan

    def _scale_bytes(self, site: Site) -> Callable[[Op], int]:
        """Bytes of scales and zero points in a file, with the header entries that name those of weights."""

        def count(op: Op) -> int:
            if not (op.weights or site.attention):
                return 0  # another operation of the same layer
            inputs = (2 if site.attention else 1) * PAIR if site.a_bits < FLOAT_BITS else 0
            if site.w_bits == FLOAT_BITS:
                return inputs
            groups = op.outputs if self.by_channel else 1
            entry = len(f'"{op.path}.weight_grid.step":{{"dtype":"F32","shape":[{groups},1],{_OFFSETS}}},')
            if self.w_scheme == SYMMETRIC:
                return inputs + groups * 4 + entry
            return inputs + groups * (5 if site.w_bits <= 8 else 6) + 2 * entry

        return count

    def carry_out(
        self, model: nn.Module, sites: Sequence[Site], images: Callable[[], Tensor], generator: torch.Generator,
        tick: Tick, *, once: Once = lambda key, compute: compute(),
    ) -> None:  # fmt: skip
        """Replace layers, watch the calibration images pass, and put grids where the watchers were; in place.

        Args:
            model: In eval mode.
            sites: What is rounded.
            images: Gives the calibration images [n, 3, height, width]; only asked where activations are rounded.
            generator: Its seed draws the sample of activations.
            tick: Called with the share done and a sentence; may raise to stop.
            once: Finds by a key what was computed before for the same model and images. Activations are watched on
                float weights, so their grids are the same for any bits of the weights.
        """
        watched: dict[str, int] = {}
        for site in sites:
            watched |= _place(model, site)
        model.eval()
        if watched:
            seed = generator.initial_seed()
            key = ("activation grids", self.a_scheme, self.observer, seed, tuple(watched.items()))
            grids = once(key, lambda: self._watch(model, watched, images().split(BATCH), seed, tick))
            for path, grid in grids.items():
                put(model, path, copy.deepcopy(grid))
        self._round_weights(model, [site for site in sites if site.w_bits < FLOAT], tick)

    def _watch(
        self, model: nn.Module, watched: dict[str, int], batches: Sequence[Tensor], seed: int, tick: Tick
    ) -> dict[str, nn.Module]:
        """The grids of activations by path, nothing where none passed; leaves watchers in their places."""
        generator = torch.Generator().manual_seed(seed)
        watches = {path: Watch(generator, len(batches)) for path in watched}
        for path, watch in watches.items():
            put(model, path, watch)
        _observe(model, batches, tick)
        grids: dict[str, nn.Module] = {}
        for path, watch in watches.items():
            tick(0.5, "Fitting activations")
            grids[path] = watch.grid(watched[path], self.a_scheme, self.observer) or nn.Identity()
        return grids

    def _round_weights(self, model: nn.Module, sites: Sequence[Site], tick: Tick) -> None:
        for number, site in enumerate(sites):
            tick(0.5 + 0.5 * number / len(sites), "Fitting weights")
            layer = model.get_submodule(site.path)
            assert isinstance(layer, Quantised)
            with torch.no_grad():
                layer.weight_grid = self.weight_grid(layer.weight, site.w_bits)

    def weight_grid(self, weight: Tensor, bits: int) -> Grid:
        """The grid of a weight [outputs, ...]."""
        step, zero = fit(
            weight.flatten(1) if self.by_channel else weight.reshape(1, -1), bits, self.w_scheme, self.observer
        )
        shape = (-1, *(1,) * (weight.dim() - 1)) if self.by_channel else ()
        return Grid(Scale(step.reshape(shape), zero.reshape(shape)), bits, self.w_scheme)


def _place(model: nn.Module, site: Site) -> dict[str, int]:
    """Put a layer with places for grids where the float one is; return those that see activations, with bits."""
    old = model.get_submodule(site.path)
    if site.attention:
        new = opened(old)
        assert new is not None
        new.open_products()
        inputs = operand_paths(site.path)
    else:
        new = with_grids(old)
        inputs = (f"{site.path}.input_grid",)
    assert new is not None
    put(model, site.path, new)
    return dict.fromkeys(inputs, site.a_bits) if site.a_bits < FLOAT else {}


@torch.no_grad()
def _observe(model: nn.Module, batches: Sequence[Tensor], tick: Tick) -> None:
    for number, images in enumerate(batches):
        tick(0.5 * number / len(batches), "Observing activations")
        model(images)
