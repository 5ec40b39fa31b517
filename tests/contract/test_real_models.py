"""The contract on the networks people start with: the bundled ones, and DeiT-Tiny with its real weights."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from referee import carried_out, claimed, counted

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core.datasets.batch import Batch
from vitedge_core.models.bundled.architectures import NAMES
from vitedge_core.models.load import load
from vitedge_core.models.trace import trace
from vitedge_core.plan import Plan
from vitedge_core.registry import technique, techniques
from vitedge_core.techniques.base import Context

KEYS = [cls.card.key for cls in techniques()]
DEIT = "deit_tiny_patch16_224"


def context(plan: Plan, teacher: torch.nn.Module) -> Context:
    """Noise of the right size; what is chosen does not matter here, only that plan and model tell the same story."""

    def stream(seed: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield Batch(torch.randn(4, *plan.image, generator=generator), torch.randint(10, (4,), generator=generator))

    calibration = next(stream(0))
    return Context(calibration.images, calibration.labels, stream, lambda name: teacher)


def check(name: str, key: str) -> None:
    model, plan = load(name).model, trace(name)
    method = technique(key)
    found = method.from_knobs({"images": 16, "seconds": 60} if method.card.trains else {})
    if why := found.supports(plan):
        pytest.skip(why)
    assert claimed(plan) == counted(model, plan)
    compressed, after = carried_out(found, model, plan, context(plan, model))
    assert claimed(after) == counted(compressed, after)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("name", NAMES)
def test_bundled(name, key):
    check(name, key)


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.skipif("VITEDGE_WEIGHTS" not in os.environ, reason=f"set VITEDGE_WEIGHTS to a folder with {DEIT}")
def test_deit_tiny(key):
    check(DEIT, key)
