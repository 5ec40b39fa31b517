"""A network with several paths through each decision, of which one is open at a time, and how the choice learns.

Cai, Zhu, Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019, arXiv
1812.00332, section 3. All candidates of a decision share one weight tensor, as slices or roundings of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Decision(nn.Module):
    """One choice among K candidates: its logits, and binary gates of which one is 1 (equation 2).

    Args:
        candidates: K.
        generator: Of the logits' beginning, normal around 0 with a deviation of 0.001.
        first: Head start of the first candidate.
    """

    def __init__(self, candidates: int, generator: torch.Generator, first: float = 0.0) -> None:
        super().__init__()
        self.logits = nn.Parameter(1e-3 * torch.randn(candidates, generator=generator))
        self.logits.data[0] += first
        self.open(0)

    @property
    def probabilities(self) -> Tensor:
        """Softmax of the logits, [K]."""
        return self.logits.softmax(0)

    def open(self, chosen: int, *, learning: bool = False) -> None:
        """Open one path. A learning decision computes every candidate, so that each gate gets a gradient."""
        gates = torch.zeros(len(self.logits))
        gates[chosen] = 1
        self.chosen, self.gates = chosen, gates.requires_grad_(learning)

    def sample(self, generator: torch.Generator, *, learning: bool = False) -> None:
        """Open a path drawn with its probability."""
        drawn = torch.multinomial(self.probabilities.detach(), 1, generator=generator)
        self.open(int(drawn), learning=learning)

    def learn(self, pull: Tensor) -> None:
        """Add to the logits' gradient what the gates' says: sum over j of dL/dg_j p_j (delta_ij - p_i), equation 4.

        Args:
            pull: dL/dg, [K].
        """
        p = self.probabilities.detach()
        grad = p * (pull - (p * pull).sum())
        self.logits.grad = grad if self.logits.grad is None else self.logits.grad + grad


class Narrowed(nn.Module):
    """A layer of whose inputs only those of the open candidate arrive; the others are zero, as if they were cut out.

    Args:
        layer: Takes [..., inputs].
        masks: [K, inputs], 1 for what stays.
        decision: K candidates.
    """

    masks: Tensor

    def __init__(self, layer: nn.Module, masks: Tensor, decision: Decision) -> None:
        super().__init__()
        self.layer, self.decision = layer, decision
        self.register_buffer("masks", masks)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return self.layer(x * (self.decision.gates @ self.masks))


class Skippable(nn.Module):
    """A residual block that may be left out: candidate 0 keeps it, candidate 1 hands its input on."""

    def __init__(self, block: nn.Module, decision: Decision) -> None:
        super().__init__()
        self.block, self.decision = block, decision

    def forward(self, x: Tensor, **kwargs: object) -> Tensor:
        """Tokens of any shape; the same shape."""
        gates = self.decision.gates
        if not gates.requires_grad:
            return x if self.decision.chosen else self.block(x, **kwargs)
        return gates[0] * self.block(x, **kwargs) + gates[1] * x


class Rounded(nn.Module):
    """A linear layer with one of several roundings of its weight and input.

    Args:
        layer: The float layer; its weights are trained.
        grids: For each candidate the grids of input and weight; `Identity` leaves one in float.
        decision: As many candidates.
    """

    def __init__(self, layer: nn.Linear, grids: Sequence[tuple[nn.Module, nn.Module]], decision: Decision) -> None:
        super().__init__()
        self.layer, self.decision = layer, decision
        self.inputs = nn.ModuleList(grid for grid, _ in grids)
        self.weights = nn.ModuleList(grid for _, grid in grids)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        gates = self.decision.gates
        if not gates.requires_grad:
            return self._candidate(x, self.decision.chosen)
        return sum((gates[k] * self._candidate(x, k) for k in range(len(gates))), start=x.new_zeros(()))

    def _candidate(self, x: Tensor, k: int) -> Tensor:
        return F.linear(self.inputs[k](x), self.weights[k](self.layer.weight), self.layer.bias)
