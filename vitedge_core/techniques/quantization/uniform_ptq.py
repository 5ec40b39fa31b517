"""Uniform post-training quantisation of weights and activations, on ranges seen by an observer.

Gholami, Kim, Dong, Yao, Mahoney, Keutzer, "A Survey of Quantization Methods for Efficient Neural Network Inference",
2021, arXiv 2103.13630.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import torch
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace_model
from vitedge_core.plan import Kind, Plan
from vitedge_core.registry import register
from vitedge_core.surgery.grid import AFFINE, FLOAT, MINMAX, MSE, OBSERVERS, SYMMETRIC
from vitedge_core.surgery.open_attention import opens
from vitedge_core.surgery.replace import takes_grids
from vitedge_core.surgery.rounding import Rounding, Site
from vitedge_core.techniques.base import (
    Card,
    Context,
    Family,
    Technique,
    block_list,
    choice,
    knob,
    named_blocks,
    settled,
    switch,
)

MOST_BITS = 16  # more are kept as float32
CHANNEL, TENSOR = "channel", "tensor"
LIKE_THE_REST, EIGHT, IN_FLOAT = "like the rest", "8 bits", "float"


@register
@dataclass(frozen=True)
class UniformPtq(Technique):
    """Weights and activations on evenly spaced levels, without training.

    Idea:
        A tensor is cut off at a range and divided into 2^b - 1 equal steps. Ranges of weights come from the weights,
        one per output channel or one for all; those of activations are observed while calibration images pass. The
        observer takes the extremes, leaves out the outermost 0.01 %, or looks for the range with the smallest squared
        error. Inputs of linear layers and convolutions and both operands of both attention products are rounded;
        norms, softmax, GELU, biases, sums and the image itself stay float. Blocks that suffer most can be spared: they
        keep more bits than the rest (What broke shows which).

    Cost:
        The file shrinks with the bits: b / 32 of the weights, plus a scale for each channel or tensor. MACs stay. The
        rounding is simulated in float, so the accuracy is that of an integer engine, but no speed is claimed or won.

    When it fails:
        Below 8 bits activations hurt first: after a LayerNorm single channels are far larger than the rest and stretch
        the range for all. Below 4 bits weights need training (add soft_logits behind this step) or other methods.

    Reference:
        Gholami et al., "A Survey of Quantization Methods for Efficient Neural Network Inference", 2021, arXiv
        2103.13630.
    """

    card = Card(
        "uniform_ptq",
        "Uniform quantisation",
        Family.QUANTIZATION,
        "Gholami et al., A Survey of Quantization Methods for Efficient Neural Network Inference, 2021",
        arxiv="2103.13630",
        differs=(
            "LayerScale and norms are not folded into the layers behind them before rounding.",
            "The percentile is one quantile over a sample of all calibration images, not a running average.",
            "The input of the first layer, the image, is not rounded.",
            "Attention products are rounded in plain and Swin blocks; in other networks only layers with weights are.",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right), 8 bits save 73 % of the file and cost 0.2 points, "
            "4-bit weights with 8-bit activations save 85 % and cost 0.5, 4 bits for both cost 10. The range of "
            "smallest squared error beats the extremes by 18 points at 4 bits and not at 8."
        ),
        calibrates=True,
    )
    w_bits: int = knob(8, 2, 32, 1, label="Bits of weights", help="2 to 16; above 16 weights stay float32.")
    a_bits: int = knob(8, 2, 32, 1, label="Bits of activations", help="2 to 16; above 16 activations stay float32.")
    observer: str = choice(
        MSE, MINMAX, *(o for o in OBSERVERS if o != MINMAX), label="Range",
        help="Of weights and activations: the extremes, all but the outermost 0.01 %, or the smallest squared error.",
    )  # fmt: skip
    w_granularity: str = choice(
        CHANNEL, CHANNEL, TENSOR, label="Weight scales", help="One per output channel, or one per tensor."
    )
    w_scheme: str = choice(
        SYMMETRIC, SYMMETRIC, AFFINE, label="Weight levels", help="Around zero, or fitted to both ends of the range."
    )
    a_scheme: str = choice(
        AFFINE, SYMMETRIC, AFFINE, label="Activation levels", help="Around zero, or fitted to both ends of the range."
    )
    attention: bool = switch(
        default=True, label="Attention products", help="Round queries, keys, values and attention weights as well."
    )
    ends: str = choice(
        LIKE_THE_REST, LIKE_THE_REST, EIGHT, IN_FLOAT, label="First and last layer",
        help="What the first layer and the classifier get when that is more bits than the rest.",
    )  # fmt: skip
    keep: str = block_list(
        label="Blocks to spare",
        help="Numbers of blocks, from 0, such as 2,5, that keep more bits than the rest; empty spares none.",
    )
    keep_bits: int = knob(
        8, 2, 32, 1, label="Bits of spared blocks",
        help="Of weights and activations in these blocks, where that is more than the rest gets.",
    )  # fmt: skip
    sites: tuple[Site, ...] | None = None

    def supports(self, plan: Plan) -> str | None:
        """Anything with weights, once."""
        if plan.quantised:
            return "The model is quantised already: change the bits of that step instead of adding another."
        try:
            named_blocks(self.keep, plan, "uniform_ptq.keep")
        except VitEdgeError as error:
            return str(error)
        if not self._sites(plan) and min(self.w_bits, self.a_bits) <= MOST_BITS:
            return f"{plan.model} has no linear layer or convolution whose weights could be quantised."
        skeleton = _skeleton(plan.model)
        return _first_odd(skeleton, self._sites(plan)) if skeleton is not None else None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """List what is rounded, after a look at whether the model's layers are of kinds that can be."""
        sites = self._sites(plan)
        why = _first_odd(model, sites)
        if why:
            raise VitEdgeError(why)
        return settled(self, sites=sites)

    def plan(self, plan: Plan) -> Plan:
        """Exact: bits by path, and the bytes of the scales."""
        return self._rounding.plan(plan, self._sites(plan))

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Replace layers, watch the calibration images pass, and put grids where the watchers were."""
        sites = self.sites
        if sites is None:
            sites = self.decide(model, trace_model(model, image=_image_size(context.images)), context).sites
        assert sites is not None
        self._rounding.carry_out(
            model, sites, lambda: context.images, context.generator, context.tick, once=context.once
        )
        return model

    @property
    def _rounding(self) -> Rounding:
        return Rounding(self.observer, self.w_granularity == CHANNEL, self.w_scheme, self.a_scheme)

    def _sites(self, plan: Plan) -> tuple[Site, ...]:
        """What is rounded with how many bits. The first layer sees the image, which is left as it is."""
        spared = named_blocks(self.keep, plan, "uniform_ptq.keep")
        layers = [op for op in plan.ops if op.weights and op.macs]
        sites = []
        for number, op in enumerate(layers):
            is_end = number == 0 or op.kind is Kind.HEAD
            w_bits, a_bits = self._bits(self._least(is_end=is_end, is_spared=op.block in spared))
            sites.append(Site(op.path, w_bits, a_bits if number else FLOAT))
        if self.attention:
            for number, block in enumerate(plan.blocks):
                if block.attention != "other":
                    a_bits = self._bits(self._least(is_spared=number in spared))[1]
                    sites.append(Site(f"{block.path}.attn", FLOAT, a_bits, attention=True))
        return tuple(site for site in sites if min(site.w_bits, site.a_bits) < FLOAT)

    def _least(self, *, is_end: bool = False, is_spared: bool = False) -> int:
        """The fewest bits that a layer at an end of the network, or in a spared block, may get."""
        at_ends = {LIKE_THE_REST: 0, EIGHT: 8, IN_FLOAT: FLOAT}[self.ends] if is_end else 0
        return max(at_ends, self.keep_bits if is_spared else 0)

    def _bits(self, least: int) -> tuple[int, int]:
        w_bits, a_bits = max(self.w_bits, least), max(self.a_bits, least)
        return w_bits if w_bits <= MOST_BITS else FLOAT, a_bits if a_bits <= MOST_BITS else FLOAT


def _image_size(images: torch.Tensor) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return channels, height, width


@lru_cache(maxsize=32)
def _skeleton(name: str) -> nn.Module | None:
    """The uncompressed network without weights, to look at the kinds of its layers; None for one without a name."""
    try:
        with torch.device("meta"):
            return build(name)
    except VitEdgeError:
        return None


def _first_odd(model: nn.Module, sites: tuple[Site, ...]) -> str | None:
    """A sentence on the first site that multiplies in a way of its own; None if there is none."""
    modules = dict(model.named_modules())
    for site in sites:
        module = modules.get(site.path)
        if module is not None and (opens(module) if site.attention else takes_grids(module)):
            continue
        way_out = "switch off its attention products" if site.attention else "choose a plain ViT, DeiT, Swin or ResNet"
        kind = type(module).__name__ if module is not None else "product of its own"
        return (
            f"Uniform quantisation cannot look into {site.path}, which is a {kind}, not of the usual kind; {way_out}."
        )
    return None
