"""The smallest weights of the model become zero, one by one, wherever they are.

Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015,
arXiv 1506.02626.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Kind, Op, Plan
from vitedge_core.registry import register
from vitedge_core.surgery.masks import set_mask
from vitedge_core.surgery.ranking import PER_LAYER, RANKINGS, removed, smallest
from vitedge_core.techniques.base import Card, Context, Family, Technique, choice, knob, settled

_PRUNED = {Kind.QKV, Kind.PROJECTION, Kind.MLP, Kind.LINEAR, Kind.CONVOLUTION}


@register
@dataclass(frozen=True)
class Magnitude(Technique):
    """Sets the smallest weights to zero.

    Idea:
        A weight close to zero hardly changes what the layer computes, so it is set to zero, and stays zero in any later
        training. Layers of the blocks (or all convolutions) are pruned; the patch embedding, the classifier, biases and
        norms are left alone.

    Cost:
        One pass over the weights, no images. The zeros stand in a dense tensor: the file, the memory and the latency do
        not change on ordinary kernels. What a sparse format and sparse hardware could save is shown as theoretical.

    When it fails:
        With half of the weights gone most transformers stay close to their accuracy; beyond 60 to 70 % they lose it
        unless trained on (add soft_logits after it). A global ranking can empty a layer whose weights are all small.

    Reference:
        Han et al., NeurIPS 2015.
    """

    ratio: float = knob(0.5, 0.0, 0.99, 0.01, label="Share of zeros", help="Share of the weights set to zero.")
    ranking: str = choice(
        PER_LAYER, *RANKINGS, label="Ranking",
        help="Every layer loses the same share, or the smallest weights of the whole model go.",
    )  # fmt: skip
    zeros: tuple[tuple[str, int], ...] | None = None  # per layer's path, once decided

    card: ClassVar[Card] = Card(
        key="magnitude",
        title="Single weights by magnitude",
        family=Family.PRUNING,
        reference="Han et al., Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015",
        arxiv="1506.02626",
        differs=(
            "A share of the weights goes, counted exactly, instead of those below a multiple of the layer's deviation.",
            "One round, without training in between; repeat the step with growing shares and soft_logits between them.",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right) half of the weights zero leaves 93.4 % ranked in "
            "each layer and 95.2 % over the whole model, 70 % leaves 42.8 % and 85.4 %; zeros by lot leave 10 %."
        ),
    )

    def supports(self, plan: Plan) -> str | None:
        """Refused after quantisation."""
        if plan.quantised:
            return f"{self.card.title} needs unquantised weights: move this step before the quantisation."
        if not any(_prunable(op) for op in plan.ops):
            return f"{self.card.title} finds no layer to prune in {plan.model}; choose another model."
        return None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """Share out the zeros among the layers."""
        before = {op.path: op.zeros for op in plan.ops if _prunable(op)}
        if self.ranking == PER_LAYER:
            return settled(self, zeros=self._equal_shares(plan))
        context.report(0.0, "Ranking all weights")
        sizes = {path: _weight(model, path).detach().abs().flatten() for path in before}
        gone = smallest(torch.cat(list(sizes.values())), removed(sum(map(len, sizes.values())), self.ratio))
        parts = gone.split([len(layer) for layer in sizes.values()])
        counts = [max(int(part.sum()), before[path]) for path, part in zip(sizes, parts, strict=True)]
        return settled(self, zeros=tuple(zip(sizes, counts, strict=True)))

    def plan(self, plan: Plan) -> Plan:
        """Nothing shrinks; zeros appear. Exact for a ranking per layer or a decided one."""
        zeros = self._equal_shares(plan) if self.zeros is None else self.zeros
        known = self.zeros is not None or self.ranking == PER_LAYER
        return replace(plan.set_zeros(dict(zeros)), exact=plan.exact and known)

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Zero each layer's smallest weights, and mask them for any later training."""
        if self.zeros is None:
            raise ValueError("decide this technique on the model before applying it")
        tick = context.ticker("Setting weights to zero")
        for done, (path, count) in enumerate(self.zeros):
            tick(done / len(self.zeros))
            weight = _weight(model, path)
            gone = smallest(weight.detach().abs().flatten(), count)
            set_mask(model.get_submodule(path), ~gone.view_as(weight))
        return model

    def _equal_shares(self, plan: Plan) -> tuple[tuple[str, int], ...]:
        """Zeros per layer when every layer loses the same share; those that are there already count."""
        return tuple((op.path, max(op.zeros, removed(op.weights, self.ratio))) for op in plan.ops if _prunable(op))


def _prunable(op: Op) -> bool:
    return op.weights > 0 and op.kind in _PRUNED


def _weight(model: nn.Module, path: str) -> Tensor:
    """The weight of the layer at that path.

    Raises:
        VitEdgeError: There is none; the network keeps it elsewhere.
    """
    weight = getattr(model.get_submodule(path), "weight", None)
    if weight is None:
        raise VitEdgeError(f"{path} keeps its weights where magnitude cannot reach them; choose another model.")
    return weight
