"""Attributions: Captum's own numbers, their promised sums, progress, cancelling, and nothing left behind."""

from __future__ import annotations

import copy

import pytest
import timm
import tiny
import torch
from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.explain import conductance
from vitedge_core.explain.attribution import CELLS, METHODS, _by_cells, attribute, completeness
from vitedge_core.explain.conductance import conductance_of_heads
from vitedge_core.explain.observer import observe
from vitedge_core.techniques.tokens.tome import Tome


def smooth(host: str = "plain") -> nn.Module:
    """Weights so small that integrals over the way from grey are easy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return tiny.HOSTS[host]().eval()


def hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def test_integrated_gradients_are_captums_and_sum_to_the_change_of_the_logit():
    from captum.attr import IntegratedGradients

    model, image = smooth(), tiny.images(1)
    found = attribute(model, image, 3, "integrated_gradients")
    right = IntegratedGradients(model).attribute(image, torch.zeros_like(image), target=3, n_steps=32)
    assert torch.allclose(found.values, right.sum(1)[0].detach(), atol=1e-5)
    with torch.no_grad():
        change = float(model(image)[0, 3] - model(torch.zeros_like(image))[0, 3])
    assert found.completeness is not None
    assert found.completeness.value == pytest.approx(abs(float(found.values.sum()) - change) / abs(change), abs=1e-3)
    assert found.completeness.value < 0.05


def test_saliency_is_the_gradient():
    model, image = smooth(), tiny.images(1).requires_grad_()
    (slope,) = torch.autograd.grad(model(image)[0, 2], image)
    found = attribute(model, image.detach(), 2, "saliency")
    assert torch.allclose(found.values, slope[0].abs().amax(0), atol=1e-6)
    assert found.completeness is None


@pytest.mark.parametrize("host", ["plain", "distilled", "registers", "swin"])
def test_gradcam_weighs_tokens_by_their_channels(host):
    model, image = smooth(host), tiny.images(1)
    seen = observe(model, image)
    found = attribute(model, image, 1, "gradcam")
    assert found.values.shape == seen.grid
    last = model.get_submodule(seen.blocks[-1].path)
    kept: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    logit = model(image.clone().requires_grad_())[0, 1]
    hook.remove()
    (slope,) = torch.autograd.grad(logit, kept)
    tokens, slope = (t.flatten(1, -2)[0, seen.prefix :] for t in (kept[0], slope))
    right = (tokens * slope.mean(0)).sum(-1).clamp_min(0)
    side = int(len(right) ** 0.5)
    coarse = nn.functional.adaptive_max_pool2d(found.values[None], (side, side)).flatten()
    assert torch.allclose(coarse, right, atol=1e-6)


def test_occlusion_is_the_fall_of_the_logit_under_each_square():
    model, image = smooth(), tiny.images(1)
    found = attribute(model, image, 5, "occlusion")
    side = 32 // found.values.shape[0]
    hidden = image.clone()
    hidden[..., side : 2 * side, 2 * side : 3 * side] = 0
    with torch.no_grad():
        fall = float(model(image)[0, 5] - model(hidden)[0, 5])
    assert float(found.values[1, 2]) == pytest.approx(fall, abs=1e-5)


@pytest.mark.parametrize("host", ["plain", "distilled", "registers", pytest.param("swin", marks=pytest.mark.slow)])
def test_all_that_crosses_a_block_sums_to_the_change_of_the_logit(host, monkeypatch):
    """Near grey a norm turns noise into a picture, so that the way there takes many steps."""
    model, image = smooth(host), tiny.images(1)
    monkeypatch.setattr(conductance, "STEPS", 160)
    found = conductance_of_heads(model, image, 4)
    with torch.no_grad():
        change = float(model(image)[0, 4] - model(torch.zeros_like(image))[0, 4])
    assert found.change == pytest.approx(change, abs=1e-5)
    assert [len(block) for block in found.heads] == [block.heads for block in observe(model, image).blocks]
    assert found.completeness.value < 0.05
    assert max(float(block.abs().max()) for block in found.heads) > 1e-4


def test_a_head_that_is_never_read_conducts_nothing():
    model, image = smooth(), tiny.images(1)
    with torch.no_grad():
        model.blocks[1].attn.proj.weight[:, 16:32] = 0  # the second of three heads
    found = conductance_of_heads(model, image, 4)
    assert float(found.heads[1][1]) == pytest.approx(0, abs=1e-7)
    assert abs(float(found.heads[1][0])) > 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_merged_models_and_models_without_attention(method):
    image = tiny.images(1)
    merged = Tome(r=3).apply(smooth(), tiny.context())
    assert attribute(merged, image, 1, method).values.isfinite().all()
    convolutions = tiny.network("convnet")
    if method == "gradcam":
        with pytest.raises(VitEdgeError, match="choose integrated gradients"):
            attribute(convolutions, image, 1, method)
    else:
        assert attribute(convolutions, image, 1, method).values.isfinite().all()


def test_heads_that_cannot_be_told_apart_are_a_sentence():
    with pytest.raises(VitEdgeError, match="no attention heads"):
        conductance_of_heads(tiny.network("convnet"), tiny.images(1), 1)
    with pytest.raises(VitEdgeError, match="told apart"):
        conductance_of_heads(timm.create_model("levit_128s", num_classes=10).eval(), torch.zeros(1, 3, 224, 224), 1)


@pytest.mark.parametrize("method", [*METHODS, "heads"])
def test_progress_is_reported_and_cancelling_leaves_nothing_behind(method):
    model, image, told = smooth(), tiny.images(1), []
    state = copy.deepcopy(model.state_dict())

    def ask(*more) -> None:
        if method == "heads":
            conductance_of_heads(model, image, 1, *more)
        else:
            attribute(model, image, 1, method, *more)

    ask(lambda share, sentence: told.append(share))
    assert told[-1] == pytest.approx(1)
    assert told == sorted(told)
    with pytest.raises(Cancelled):
        ask(lambda share, sentence: None, lambda: True)

    def fail(module: nn.Module, given: object) -> None:
        raise RuntimeError("broken on purpose")

    broken = model.blocks[-1].mlp.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        ask()
    broken.remove()
    assert hooks(model) == 0
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not image.requires_grad


def test_large_images_are_summed_by_squares():
    pixels = torch.randn(1, 224, 224, generator=torch.Generator().manual_seed(0))
    cells = _by_cells(pixels)
    assert cells.shape == (56, 56)
    assert max(cells.shape) <= CELLS
    assert float(cells[3, 5]) == pytest.approx(float(pixels[0, 12:16, 20:24].sum()), abs=1e-4)


def test_the_error_says_what_it_is_a_share_of():
    found = completeness(-0.5, 2.0, "by hand")
    assert found.value == 0.25
    assert "-0.5" in found.source
    assert "+2" in found.source
    assert completeness(0.1, 0.0, "by hand").value == 100
