"""How much of a class's logit runs through each head: layer conductance by Captum, head by head.

Dhamdhere, Sundararajan, Yan, "How Important Is a Neuron?", ICLR 2019, arXiv:1805.12233.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.explain.attribution import Counted, Report, change_of_logit, completeness
from vitedge_core.explain.observer import shell_of
from vitedge_core.explain.watch import attention_sites
from vitedge_core.surgery.tokens import Tokens

STEPS = 24
_PARTS = "This model's heads are not laid out one after another, so what runs through each cannot be told apart."


@dataclass(frozen=True, slots=True)
class Conductance:
    """What runs through the heads on the way from an even grey to the image.

    target: the class. heads: for each block the change of its logit that each of its heads carries, [H]. change: of
    the logit altogether. completeness: the largest error among the blocks.
    """

    target: int
    heads: tuple[Tensor, ...]
    change: float
    completeness: Quantity


def conductance_of_heads(
    model: nn.Module,
    image: Tensor,
    target: int,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Conductance:
    """Layer conductance of every block's heads.

    A block is cut where its heads' results, before they are projected, meet the tokens that pass by them. Nothing else
    crosses that cut, so both parts together must sum to the change of the logit: that they do is the completeness.

    Args:
        model: A timm transformer; it is neither changed nor hooked.
        image: [1, 3, height, width], normalised for the model.
        target: The class.
        report: Told the share that is done.
        cancelled: Asked before each block.

    Raises:
        VitEdgeError: The model's heads cannot be told apart.
        Cancelled: `cancelled` said so.
    """
    shell = shell_of(model)
    sites = [(block, attn, _heads(attn)) for block, attn in attention_sites(shell).values()]
    if not sites:
        raise VitEdgeError("This model has no attention heads.")
    run = Counted(shell, "Conductance of heads", report, cancelled)
    run.total = 2 * len(sites) * (STEPS + 3) + 2
    found, errors = zip(*(_one_block(run, site, image.detach(), target) for site in sites), strict=True)
    change = change_of_logit(run, image.detach(), target)
    worst = completeness(
        max(errors, key=abs), change, f"{STEPS} steps there and back, the worst of {len(sites)} blocks"
    )
    return Conductance(target, found, change, worst)


def _heads(attn: Any) -> int:
    """How many heads lie side by side in what `proj` reads."""
    proj, heads = getattr(attn, "proj", None), getattr(attn, "num_heads", 0)
    width = getattr(proj, "in_features", 0)
    if not isinstance(heads, int) or not heads or not width or width % heads:
        raise VitEdgeError(_PARTS)
    return heads


def _one_block(run: Counted, site: tuple[nn.Module, Any, int], image: Tensor, target: int) -> tuple[Tensor, float]:
    """Conductance of a block's heads [H], and Captum's convergence delta over the whole cut."""
    from captum.attr import LayerConductance

    block, attn, heads = site
    cut, grey = _Cut(), torch.zeros_like(image)
    with _cut_open(block, attn, cut):
        # Captum takes the slope at the first end of each step; there and back is the mean of both ends
        (_, there), missed = _between(LayerConductance(run, cut), grey, image, target)
        (_, back), missed_back = _between(LayerConductance(run, cut), image, grey, target)
    by_head = (there - back).detach().unflatten(-1, (heads, -1)).sum(-1)
    return by_head.flatten(0, -2).sum(0) / 2, float(missed - missed_back) / 2


def _between(conductance: Any, first: Tensor, last: Tensor, target: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Conductance of both parts of the cut on the way from one image to the other, and Captum's delta."""
    return conductance.attribute(
        last, first, target=target, n_steps=STEPS, method="riemann_trapezoid", return_convergence_delta=True
    )


class _Cut(nn.Module):
    """Everything that crosses a block between its attention and what is added to it."""

    def forward(self, passing: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """As it came."""
        return passing, heads


@contextmanager
def _cut_open(block: nn.Module, attn: Any, cut: _Cut) -> Iterator[None]:
    """Send what passes by the heads, and their results, through `cut`; the hooks are gone afterwards."""
    passing: list[Tensor] = []

    def enter(module: nn.Module, given: tuple[Any, ...]) -> None:
        passing[:] = [given[0].values if isinstance(given[0], Tokens) else given[0]]

    def meet(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        batch = len(passing[0])
        by_image = given[0].unflatten(0, (batch, -1)) if len(given[0]) != batch else given[0]  # windows of one image
        # cut off, so that the slope of what passes by is not also that of what the heads make of it
        _, through = cut(passing[0], by_image.detach().requires_grad_())
        return (through.reshape(given[0].shape), *given[1:])

    hooks = [
        block.register_forward_pre_hook(enter),
        attn.proj.register_forward_pre_hook(meet),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
