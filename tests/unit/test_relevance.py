"""Gradient-weighted rollout: the rule of the paper, step by step, on a model with hooks."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import Tensor, nn
from torch.overrides import _len_torch_function_stack

from vitedge_core.errors import VitEdgeError
from vitedge_core.explain.observer import observe
from vitedge_core.explain.relevance import relevance, relevance_map
from vitedge_core.surgery.open_attention import opened
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq
from vitedge_core.techniques.tokens.tome import Tome

HOSTS = ("plain", "distilled", "registers", "swin")


def chefer(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """R of Chefer et al. (equations 5 and 6) as a user of hooks on an unfused model writes it, [N, N]."""
    model, seen = copy.deepcopy(model), []
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
            module.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0]))  # type: ignore[union-attr, operator]
    logit = model(image)[0, target]
    relevances = torch.eye(seen[0].shape[-1])
    for weights, slope in zip(seen, torch.autograd.grad(logit, seen), strict=True):
        relevances = relevances + (weights * slope)[0].clamp_min(0).mean(0) @ relevances
    return relevances.detach()


@pytest.mark.parametrize("host", ["plain", "distilled", "registers"])
def test_it_is_the_rule_of_the_paper(host):
    model, image = tiny.network(host), tiny.images(1)
    seen = observe(model, image, toward=4)
    right = chefer(model, image, 4)
    assert seen.toward == 4
    assert torch.allclose(relevance(seen, torch.eye(len(right))), right, rtol=1e-3, atol=1e-5)
    if host == "plain":
        assert torch.allclose(relevance_map(seen).flatten(), right[0, 1:], rtol=1e-3, atol=1e-6)
    if host == "registers":  # the mean patch's row, without the identity
        row = (right - torch.eye(len(right)))[2:].mean(0)[2:]
        assert torch.allclose(relevance_map(seen).flatten(), row, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("host", HOSTS)
def test_looking_with_gradients_changes_nothing(host):
    model, image = tiny.network(host), tiny.images(1)
    plain, seen = observe(model, image), observe(model, image, toward=1)
    assert torch.allclose(plain.logits, seen.logits, atol=1e-4)
    assert not seen.logits.requires_grad
    for before, after in zip(plain.blocks, seen.blocks, strict=True):
        assert torch.allclose(before.weights, after.weights, atol=1e-5)
        assert not after.weights.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not image.requires_grad
    assert _len_torch_function_stack() == 0
    found = relevance_map(seen)
    assert found.shape == seen.grid
    assert (found >= 0).all()
    assert found.max() > 0


def test_each_class_has_its_own_map():
    model, image = tiny.network("plain"), tiny.images(1)
    first, second = (relevance_map(observe(model, image, toward=target)) for target in (1, 2))
    assert not torch.allclose(first, second)


def test_merged_and_rounded_models_have_one_too():
    context = tiny.context()
    model = Tome(r=3).apply(tiny.network("plain"), context)
    found = relevance_map(observe(model, tiny.images(1), toward=1))
    assert found.max() > 0
    for block in model.blocks:  # type: ignore[union-attr]
        block.attn = opened(block.attn)
        block.attn.open_products()
    again = relevance_map(observe(model, tiny.images(1), toward=1))
    assert torch.allclose(found, again, rtol=1e-3, atol=1e-6)  # written out or fused, it is the same
    plan = tiny.plan_of(tiny.network("plain"))
    rounded = tiny.network("plain")
    technique = UniformPtq(w_bits=4, a_bits=4).decide(rounded, plan, context)
    rounded = technique.apply(rounded, context)
    assert relevance_map(observe(rounded, tiny.images(1), toward=1)).max() > 0


def test_without_gradients_it_is_a_sentence():
    seen = observe(tiny.network("plain"), tiny.images(1))
    with pytest.raises(VitEdgeError, match="choose rollout"):
        relevance_map(seen)
