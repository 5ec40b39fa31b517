"""Heads and MLP neurons whose removal the loss would notice least are cut out of the model.

Michel, Levy, Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019, arXiv 1905.10650 (heads);
Molchanov, Mallya, Tyree, Frosio, Kautz, "Importance Estimation for Neural Network Pruning", CVPR 2019,
arXiv 1906.10771 (neurons).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.registry import register
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.importance import taylor
from vitedge_core.surgery.structure import Inner
from vitedge_core.techniques.base import Card, Context, Family
from vitedge_core.techniques.narrowing import Narrowing


@register
@dataclass(frozen=True)
class HeadMlpTaylor(Narrowing):
    """Removes the heads and MLP neurons that matter least to the loss.

    Idea:
        Multiply the output of a head or neuron by a gate. The gradient of the loss with respect to that gate is what
        the loss would change by, to first order, if the gate were closed. A few labelled images give it for every unit
        of the model in one backward pass. The least important units are cut out, rows of one matrix and columns of the
        next; what they gave on average moves into the bias behind them.

    Cost:
        A few forward passes and one backward pass over the calibration images. The smaller model is dense: parameters,
        MACs, memory and latency all shrink on any device.

    When it fails:
        Units are judged one at a time; of two that stand in for each other both look useless. Beyond a third to a half
        of the units the accuracy breaks down unless the model is trained again (add soft_logits after it). A model
        whose classes are not those of the calibration images cannot be judged at all.

    Reference:
        Michel, Levy and Neubig, NeurIPS 2019 (heads); Molchanov et al., CVPR 2019 (neurons).
    """

    card: ClassVar[Card] = Card(
        key="head_mlp_taylor",
        title="Heads and MLP neurons by Taylor importance",
        family=Family.PRUNING,
        reference="Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019; "
        "Michel et al., Are Sixteen Heads Really Better than One?, NeurIPS 2019",
        arxiv="1906.10771",
        differs=(
            "One shot, without training between rounds; add a soft_logits step to train afterwards.",
            "With compensation a unit is judged by what the loss loses when it is replaced by its mean, not by zero.",
            "The mean of what is removed moves into the next bias (Variance-Based Pruning, arXiv 2507.12988).",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right) 92.7 % are left without 25 % of heads and neurons, "
            "61.6 % without half: 18 points more than by magnitude (15 to 20), 42 more than by lot. At 25 % the lead "
            "over magnitude is within chance (+0.6 points, −0.5 to +1.7)."
        ),
        calibrates=True,
    )

    def scores(
        self, model: nn.Module, handles: Sequence[BlockHandle], means: Sequence[Inner] | None, context: Context
    ) -> list[Inner]:
        """Mean over images of |gate x gradient|, divided by the norm of its layer, so that layers can compete."""
        if context.labels is None:
            raise VitEdgeError(
                "head_mlp_taylor needs labelled calibration images of the model's own classes; "
                "choose head_mlp_magnitude, which needs no labels."
            )
        tick = context.ticker("Weighing heads and neurons")
        found = taylor(model, handles, context.images, context.labels, means=means, tick=tick)
        return [Inner(F.normalize(score.heads, dim=0), F.normalize(score.hidden, dim=0)) for score in found]
