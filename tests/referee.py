"""Counts on the real model what a plan claims, by means that share nothing with the plan."""

from __future__ import annotations

import copy
import logging
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
    macs = torch_macs(model, torch.randn(1, *plan.image, generator=torch.Generator().manual_seed(5)))
    for hook in hooks:
        hook.remove()
    return Claims(
        sum(parameter.numel() for parameter in model.parameters()),
        macs,
        tuple((rows[attention], rows[mlp]) for attention, mlp in pairs),
    )


# What each of fvcore's handlers counts, by operator: products of the model, or work beside them. A third kind fails.
PRODUCTS = {"linear", "conv", "matmul", "bmm", "addmm", "einsum", "scaled_dot_product_attention"}
BESIDE = {"layer_norm", "batch_norm", "group_norm", "adaptive_avg_pool2d", "upsample_bilinear2d"}


def torch_macs(model: nn.Module, images: Tensor) -> int:
    """Multiply-accumulates as torch counts them, of any number of images on any device.

    Unfused: PyTorch's counter knows the CPU's own fused attention only from 2.15 on.
    """
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(images)
    return counter.get_total_flops() // 2


def fvcore_counts(model: nn.Module, images: Tensor, *, taught: bool = True) -> dict[str, int]:
    """What fvcore counts, by operator; `taught` about fused attention, which it leaves out by itself.

    The model is really run, on the CPU, because fvcore follows PyTorch's tracer.
    """
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger("fvcore").setLevel(logging.ERROR)
    counter = FlopCountAnalysis(model, images).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    if taught:
        counter.set_op_handle("aten::scaled_dot_product_attention", _attention)
    return {name: int(count) for name, count in counter.by_operator().items()}


def _attention(inputs: list, outputs: list) -> int:
    """Products of [..., N, d] queries, [..., M, d] keys and M values of the outputs' width."""
    from fvcore.nn.jit_handles import get_shape

    query, key = get_shape(inputs[0]), get_shape(inputs[1])
    return torch.Size(query[:-1]).numel() * key[-2] * (query[-1] + get_shape(outputs[0])[-1])


def products(counts: dict[str, int]) -> int:
    """Of fvcore's counts the multiply-accumulates of products; whatever is neither product nor known work fails."""
    assert set(counts) <= PRODUCTS | BESIDE, set(counts) - PRODUCTS - BESIDE
    return sum(count for name, count in counts.items() if name in PRODUCTS)


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
