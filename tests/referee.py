"""Counts on the real model what a plan claims, by means that share nothing with the plan."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitedge_core.plan import Plan
from vitedge_core.techniques.base import Context, Technique


@dataclass(frozen=True)
class Claims:
    """What plan and model must agree on. tokens: (entering the attention, entering the MLP) of every block."""

    params: int
    macs: int
    tokens: tuple[tuple[int, int], ...]


def claimed(plan: Plan) -> Claims:
    return Claims(plan.params, plan.macs, tuple((block.tokens, block.mlp_tokens) for block in plan.blocks))


def counted(model: nn.Module, plan: Plan) -> Claims:
    """The plan gives only the paths of the blocks to look at."""
    rows: dict[str, int] = {}

    def watch(path: str) -> object:
        def note(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            rows[path] = arguments[0].shape[:-1].numel()

        return model.get_submodule(path).register_forward_pre_hook(note)

    pairs = [(f"{block.path}.attn.qkv", f"{block.path}.mlp.fc1") for block in plan.blocks]
    hooks = [watch(path) for pair in pairs for path in pair]
    example = torch.randn(1, *plan.image, generator=torch.Generator().manual_seed(5))
    # unfused: PyTorch's counter knows the CPU's own fused attention only from 2.15 on
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(example)
    for hook in hooks:
        hook.remove()
    return Claims(
        sum(parameter.numel() for parameter in model.parameters()),
        counter.get_total_flops() // 2,
        tuple((rows[attention], rows[mlp]) for attention, mlp in pairs),
    )


def carried_out(technique: Technique, model: nn.Module, plan: Plan, context: Context) -> tuple[nn.Module, Plan]:
    """A compressed copy of the model, and the plan of the decided technique."""
    decided = technique.decide(model, plan, context)
    return decided.apply(copy.deepcopy(model), context).eval(), decided.plan(plan)


def hooks_on(model: nn.Module) -> Iterator[str]:
    """Names of hooks that hang on a model."""
    for path, module in model.named_modules():
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            if getattr(module, kind):
                yield f"{path}.{kind}"


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """Every tensor a model holds, copied."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
