"""Heads and MLP neurons with the smallest weights are cut out of the model.

Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient ConvNets", ICLR 2017, arXiv 1608.08710.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from vitedge_core.registry import register
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.importance import magnitudes
from vitedge_core.surgery.structure import Inner
from vitedge_core.techniques.base import Card, Context, Family, choice
from vitedge_core.techniques.narrowing import Narrowing

NORMS = ("L2", "L1")


@register
@dataclass(frozen=True)
class HeadMlpMagnitude(Narrowing):
    """Removes the heads and MLP neurons whose weights are smallest.

    Idea:
        A unit with small weights can contribute little. It is ranked by the norm of all weights that belong to it: a
        head's rows of query, key and value and its columns of the projection; a neuron's row of the first matrix and
        column of the second. The ranking needs no images; the compensation averages a few.

    Cost:
        A pass over the weights, and one over the calibration images if compensation is on. The smaller model is dense:
        parameters, MACs, memory and latency all shrink on any device.

    When it fails:
        Small weights that meet large activations matter, and large ones that cancel do not; Taylor importance sees
        both. Sizes mean different things in different layers; a global ranking divides them by the norm of their layer,
        which is only a remedy.

    Reference:
        Li et al., ICLR 2017, for filters of convolutions; here for heads and neurons.
    """

    norm: str = choice("L2", *NORMS, label="Norm", help="How the size of a unit's weights is measured.")

    card: ClassVar[Card] = Card(
        key="head_mlp_magnitude",
        title="Heads and MLP neurons by magnitude",
        family=Family.PRUNING,
        reference="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017",
        arxiv="1608.08710",
        differs=(
            "Heads and MLP neurons instead of filters, and all weights of a unit instead of its incoming ones.",
            "One shot, without training afterwards; add a soft_logits step for that.",
            "The mean of what is removed moves into the next bias (Variance-Based Pruning, arXiv 2507.12988).",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right) 92.0 % are left without 25 % of heads and neurons, "
            "43.8 % without half; by lot 57.0 % and 19.9 %. The compensation changes nothing here (−0.1 points, "
            "−0.9 to +0.6)."
        ),
        calibrates=True,
    )

    def scores(
        self, model: nn.Module, handles: Sequence[BlockHandle], means: Sequence[Inner] | None, context: Context
    ) -> list[Inner]:
        """Norms, each divided by the norm of its layer, so that layers can compete."""
        norms = magnitudes(handles, NORMS[::-1].index(self.norm) + 1)
        return [Inner(F.normalize(norm.heads, dim=0), F.normalize(norm.hidden, dim=0)) for norm in norms]
