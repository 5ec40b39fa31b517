"""How far the outputs of two models drift apart, block by block, and where they first fall apart.

Signal-to-quantisation-noise ratio: 10 log10(|x|^2 / |x - x'|^2) in decibels, as it is used to find the layers that
quantisation hurts; see Nagel et al., "A White Paper on Neural Network Quantization", 2021, arXiv:2106.08295, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core import bootstrap
from vitedge_core.evidence import Quantity
from vitedge_core.explain.lineage import Origin
from vitedge_core.surgery.capture import inputs_and_outputs_of, inputs_of
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.tokens import Tokens, merging_blocks

EXACT = 144.0  # dB: float32 holds 24 bits, so nothing closer can be told from equal
FALLEN = 10.0  # dB: the error carries a tenth of the energy of what it disturbs
RULE = (
    "A {kind} has fallen off when the error in its output carries more than a tenth of the output's energy: when the "
    f"upper end of the interval of its SQNR is below {FALLEN:.0f} dB. The first such {{kind}} is marked."
)


@dataclass(frozen=True, slots=True)
class Layer:
    """One place of the network, named as in the uncompressed model and counted from 0.

    cosine: of each token's output before and after, averaged over tokens. sqnr: of the output with all that went
    wrong before it. alone: SQNR when this block alone is the compressed one (of a removed block: without it). None
    where there is nothing to compare.
    """

    name: str
    number: int
    removed: bool = False
    cosine: Quantity | None = None
    sqnr: Quantity | None = None
    alone: Quantity | None = None

    @property
    def fallen(self) -> bool:
        """Whether it has fallen off, by `RULE`."""
        return self.sqnr is not None and self.sqnr.high is not None and self.sqnr.high < FALLEN


@dataclass(frozen=True, slots=True)
class Divergence:
    """All places in order, on n images. kind: "block", or "layer" in a network without transformer blocks."""

    kind: str
    n: int
    layers: tuple[Layer, ...]

    @property
    def rule(self) -> str:
        """When a place counts as fallen off, in words."""
        return RULE.format(kind=self.kind)

    @property
    def first(self) -> Layer | None:
        """The first that falls off; None when all hold."""
        return next((layer for layer in self.layers if layer.fallen), None)

    @property
    def guilty(self) -> Layer | None:
        """The block that does most damage by itself; None where nobody does any, or it is not known."""
        known = [layer for layer in self.layers if layer.alone is not None and layer.alone.value < EXACT]
        return min(known, key=lambda layer: layer.alone.value, default=None)  # type: ignore[union-attr]


def divergence(
    before: nn.Module,
    after: nn.Module,
    lineage: Sequence[Origin],
    batches: Iterable[Tensor],
    tick: Callable[[int], None] = lambda done: None,
) -> Divergence:
    """Run two models on the same images and compare what every block makes of them.

    Args:
        before: The uncompressed model; it keeps no hook.
        after: The compressed one; it keeps none either.
        lineage: Which block of `before` each one of `after` is; empty where no block can be edited, and then the
            layers with weights that both models have are compared.
        batches: Images [B, 3, height, width], normalised; for every batch the same models.
        tick: Told after each batch how many images are done; may raise to stop.
    """
    names = [handle.path for handle in blocks(before)] if lineage else _layers(before, after)
    cosine: list[Tensor] = []
    sqnr: list[Tensor] = []
    alone: list[Tensor] = []
    with torch.no_grad():
        for images in batches:
            found = _by_block(before, after, lineage, images) if lineage else _by_layer(before, after, names, images)
            for kept, new in zip((cosine, sqnr, alone), found, strict=True):
                kept.append(new)
            tick(sum(map(len, sqnr)))
    figures = (torch.cat(cosine), torch.cat(sqnr), torch.cat(alone))
    return _told("block" if lineage else "layer", names, figures, {origin.block for origin in lineage})


def decibels(signal: Tensor, other: Tensor) -> Tensor:
    """SQNR of each image, [B]; at most `EXACT`, which is what equal tensors have."""
    power = signal.flatten(1).double().square().sum(1)
    noise = (signal - other).flatten(1).double().square().sum(1)
    level = (10 * torch.log10(power / noise)).clamp(-EXACT, EXACT)
    return torch.where(noise == 0, EXACT, level)


def likeness(one: Tensor, other: Tensor, channels: int = -1) -> Tensor:
    """Cosine of what two models say at each place, averaged over each image's places, [B]; equal is 1, also zero."""
    cosine = F.cosine_similarity(one.double(), other.double(), dim=channels)
    equal = (one == other).all(channels)
    return torch.where(equal, 1.0, cosine).reshape(len(one), -1).mean(1)


def _by_block(
    before: nn.Module, after: nn.Module, lineage: Sequence[Origin], images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine, SQNR and SQNR alone of every block of `before` on a batch, [B, L] each; nan where there is none."""
    old, new = blocks(before), blocks(after)
    with inputs_and_outputs_of(handle.block for handle in old) as passed:
        before(images)
    results = _results(after, [handle.block for handle in new], images)
    cosine, sqnr, alone = torch.full((3, len(old), len(images)), torch.nan, dtype=torch.float64)
    for place, handle in enumerate(old):
        alone[place] = decibels(passed[handle.block][1], passed[handle.block][0])  # as if removed
    for place, (origin, handle) in enumerate(zip(lineage, new, strict=True)):
        entered, left = passed[old[origin.block].block]
        cosine[origin.block] = likeness(left, results[place])
        sqnr[origin.block] = decibels(left, results[place])
        alone[origin.block] = decibels(
            left, _by_itself(handle.block, entered, merges=merging_blocks(after) is not None)
        )
    return cosine.T, sqnr.T, alone.T


def _results(model: nn.Module, modules: list[nn.Module], images: Tensor) -> list[Tensor]:
    """What each block gives, in the places of the original tokens."""
    merging = merging_blocks(model)
    if merging is not None:
        with inputs_of([merging]) as entered:
            model(images)
        return [_spread(tokens) for tokens in merging.trail(entered[merging])]
    with inputs_and_outputs_of(modules) as passed:
        model(images)
    return [passed[module][1] for module in modules]


def _by_itself(block: nn.Module, entered: Tensor, *, merges: bool) -> Tensor:
    """What a block gives when nothing before it was compressed."""
    if not merges:
        return block(entered)
    everyone = torch.arange(entered.shape[1]).expand(entered.shape[:2])
    return _spread(block(Tokens(entered, owners=everyone)))


def _spread(tokens: Tokens) -> Tensor:
    """Every original token with the value of the one that holds it, [B, N0, D]."""
    assert tokens.owners is not None
    return tokens.values.gather(1, tokens.owners[..., None].expand(-1, -1, tokens.values.shape[-1]))


def _layers(before: nn.Module, after: nn.Module) -> list[str]:
    """Paths of the layers with weights that both models have, in order."""
    known = dict(after.named_modules())
    return [
        path for path, layer in before.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear) and path in known
    ]


def _by_layer(
    before: nn.Module, after: nn.Module, names: Sequence[str], images: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for layers; a layer cannot be tried alone without running what stands around it."""
    seen = []
    for model in (before, after):
        layers = [model.get_submodule(path) for path in names]
        with inputs_and_outputs_of(layers) as passed:
            model(images)
        seen.append([passed[layer][1] if layer in passed else None for layer in layers])
    cosine, sqnr, alone = torch.full((3, len(names), len(images)), torch.nan, dtype=torch.float64)
    for place, (one, other) in enumerate(zip(*seen, strict=True)):
        if one is not None and other is not None and one.shape == other.shape:
            cosine[place] = likeness(one, other, 1 if one.ndim == 4 else -1)
            sqnr[place] = decibels(one, other)
    return cosine.T, sqnr.T, alone.T


def _told(kind: str, names: Sequence[str], figures: tuple[Tensor, Tensor, Tensor], kept: set[int]) -> Divergence:
    """The figures [n, L] of every place with their intervals over images."""
    cosine, sqnr, alone = figures

    def figure(values: Tensor, unit: str, what: str) -> Quantity | None:
        if values.isnan().any():
            return None
        return bootstrap.mean(values, unit, f"{what}, mean over {len(values):,} images")

    layers = []
    for place, path in enumerate(names):
        name = f"Block {place + 1}" if kind == "block" else path
        apart = f"output of {path} before and after the recipe"
        layers.append(Layer(
            name, place, kind == "block" and place not in kept,
            figure(cosine[:, place], "cosine", f"cosine of the tokens of the {apart}"),
            figure(sqnr[:, place], "dB", f"SQNR of the {apart}, at most {EXACT:.0f} dB, which float32 cannot exceed"),
            figure(alone[:, place], "dB", f"SQNR of the {apart} when the blocks before it are the uncompressed ones"),
        ))  # fmt: skip
    return Divergence(kind, len(sqnr), tuple(layers))
