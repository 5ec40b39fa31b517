"""How fast the Attention page's figures come: one image, one recipe, all blocks, both models; and attributions.

Beside it, in the same run and taking turns: hooks on an unfused model, as vit-explain (Gildenblat, 2020) and the code
of Chefer et al. (ICCV 2021) use them, and Captum called directly. Limits: 1 s for a bundled model and 3 s for a
ViT-Small at 224 pixels, on two cores, once the recipe is carried out. Times are of the processor on one thread, so that
other programs do not count; with two threads on two free cores a person waits less.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import timm
import torch
from torch import Tensor, nn

from vitedge_core.compress import load_trained
from vitedge_core.datasets.sets import open_images
from vitedge_core.datasets.uploads import as_seen, prepared
from vitedge_core.experiments.gaze import Gaze, View, gaze, look
from vitedge_core.explain.attention import all_maps, rollout_map
from vitedge_core.explain.attribution import STEPS, attribute
from vitedge_core.explain.observer import observe
from vitedge_core.explain.relevance import relevance_map
from vitedge_core.models.load import preprocessing
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Context
from vitedge_core.techniques.tokens.tome import Tome

RECIPE = Recipe(
    "digits_vit_base",
    (Step.of("head_mlp_taylor", ratio=0.6), Step.of("tome", r=8), Step.of("uniform_ptq", w_bits=3, a_bits=8)),
)


class Hooked:
    """The peer: fused attention switched off in a copy of the model, and a hook on every dropout of attention."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.seen = copy.deepcopy(model), []
        for module in self.model.modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False  # type: ignore[assignment]
                module.attn_drop.register_forward_hook(lambda _, given, result: self.seen.append(result))  # type: ignore[union-attr, operator]

    def rollout(self, image: Tensor) -> Tensor:
        """All blocks' attention in one pass, and the product of Abnar and Zuidema over all tokens."""
        self.seen.clear()
        with torch.no_grad():
            self.model(image)
        eye = torch.eye(self.seen[0].shape[-1])
        flow = eye
        for weights in self.seen:
            mixed = weights[0].mean(0) + eye
            flow = mixed / mixed.sum(-1, keepdim=True) @ flow
        return flow[0, 1:]

    def relevance(self, image: Tensor, target: int) -> Tensor:
        """The rule of Chefer et al. over all tokens."""
        self.seen.clear()
        slopes = torch.autograd.grad(self.model(image)[0, target], self.seen)
        relevances = torch.eye(self.seen[0].shape[-1])
        for weights, slope in zip(self.seen, slopes, strict=True):
            relevances = relevances + (weights * slope)[0].clamp_min(0).mean(0).detach() @ relevances
        return relevances[0, 1:]


def seconds(call: Callable[[], object], times: int = 9) -> float:
    """Median processor time of a call after a warm-up."""
    call()
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def compare(what: str, ours: Callable[[], object], peer: Callable[[], object], times: int = 9) -> None:
    """Both in turns after a warm-up; prints the medians, and the median of the ratios of each turn."""
    ours()
    peer()
    pairs = [(seconds_once(ours), seconds_once(peer)) for _ in range(times)]
    first, second = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{what}: ours {first:.0f} ms, peer {second:.0f} ms, ratio {ratio:.2f} ({times} turns)")


def seconds_once(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def drawn(found: Gaze) -> None:
    """The maps that the page shows first."""
    found.maps(View(None))
    found.strip()


def peers(name: str, model: nn.Module, image: Tensor) -> None:
    """One model: all blocks and rollout, gradient-weighted rollout, integrated gradients; ours over the peer's."""
    from captum.attr import IntegratedGradients

    hooked, grey = Hooked(model), torch.zeros_like(image)

    def ours() -> None:
        seen = observe(model, image)
        all_maps(seen)
        rollout_map(seen)

    compare(f"{name}, all blocks and rollout, against hooks", ours, lambda: hooked.rollout(image))
    compare(f"{name}, gradient-weighted rollout, against hooks",
            lambda: relevance_map(observe(model, image, toward=1)), lambda: hooked.relevance(image, 1))  # fmt: skip
    compare(f"{name}, integrated gradients in {STEPS} steps, against Captum called directly",
            lambda: attribute(model, image, 1, "integrated_gradients"),
            lambda: IntegratedGradients(model).attribute(image, grey, target=1, n_steps=STEPS, internal_batch_size=8,
                                                         return_convergence_delta=True), 3)  # fmt: skip
    worst = float((rollout_map(observe(model, image)).flatten() - hooked.rollout(image)).abs().max())
    print(f"{name}, largest difference between both rollouts: {worst:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    photo = open_images("digits").image(3)
    start = time.process_time()
    look(RECIPE, photo)
    print(f"{RECIPE.model}, first look, the recipe carried out as well: {time.process_time() - start:.2f} s")
    for weighted, what in ((False, "rollout and all blocks"), (True, "with gradients")):
        taken = seconds(lambda w=weighted: drawn(look(RECIPE, photo, weighted=w)))
        print(f"{RECIPE.model}, both models, {what}: {taken:.2f} s median (limit 1 s)")
    peers(RECIPE.model, load_trained(RECIPE.model), prepared(photo, preprocessing(RECIPE.model)))

    small, image = timm.create_model("vit_small_patch16_224").eval(), torch.randn(1, 3, 224, 224)
    merging = Tome(r=8).apply(copy.deepcopy(small), Context(image))
    pixels = as_seen(image, preprocessing("vit_small_patch16_224"))
    taken = seconds(lambda: drawn(gaze(observe(small, image), observe(merging, image), None, pixels)))
    print(f"vit_small_patch16_224 (random weights, ToMe r = 8), both models: {taken:.2f} s median (limit 3 s)")
    peers("vit_small_patch16_224", small, image)
