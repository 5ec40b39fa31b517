"""Peak memory by liveness, against what torch's own allocator records and against cases one can do by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import HOSTS, SIDE, network, plan_of
from torch import nn

from vitedge_core.cost.memory import peak_activations, peak_memory, timeline, weights_in_memory
from vitedge_core.measure.memory import peak_memory as measured
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace, trace_model


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("batch", [1, 4])
def test_foretold_within_a_tenth_of_what_is_measured(host, batch):
    model = network(host)
    foretold = peak_memory(plan_of(model), batch)
    assert foretold == pytest.approx(measured(model, torch.randn(batch, 3, SIDE, SIDE)).value, rel=0.1)


@pytest.mark.parametrize("name", ["digits_convnet", "digits_swin"])
def test_foretold_of_bundled_models(name):
    plan = trace(name)
    model = build(name).eval().requires_grad_(False)
    assert peak_memory(plan) == pytest.approx(measured(model, torch.randn(1, *plan.image)).value, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["pvt_v2_b0", "levit_128s", "efficientvit_b0", "mobilevit_xxs", "vit_small_patch32_224"]
)
def test_foretold_of_models_with_convolutions_and_tables(name):
    plan = trace(name)
    model = build(name).eval().requires_grad_(False)
    assert peak_memory(plan) == pytest.approx(measured(model, torch.randn(1, *plan.image)).value, rel=0.02)


class Keeper(nn.Module):
    """Makes a table at its first pass and keeps it; LeViT does so with the biases of its attention."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 16, bias=False)
        self.kept: dict[str, torch.Tensor] = {}

    def forward(self, images):
        if "table" not in self.kept:
            self.kept["table"] = self.layer.weight.repeat(3, 1)
        return self.layer(images) + self.kept["table"].sum()


def test_a_table_that_a_module_keeps_is_no_activation_but_takes_memory():
    model = Keeper().eval().requires_grad_(False)
    plan = trace_model(model, image=(3, 4, 8))
    assert sum(op.constants for op in plan.ops) == 4 * 3 * 128
    assert weights_in_memory(plan) == 4 * 128 + 4 * 3 * 128
    assert peak_memory(plan) == measured(model, torch.randn(1, 3, 4, 8)).value


def test_the_timeline_peaks_where_the_memory_does():
    plan = trace("digits_convnet")
    for batch in (1, 3):
        moments = timeline(plan, batch)
        assert weights_in_memory(plan) + max(moment.total for moment in moments) == peak_memory(plan, batch)
        assert any(moment.scratch for moment in moments)
        assert [moment.path for moment in moments][:2] == ["stem.conv", "stem.bn"]


class Chain(nn.Module):
    """Linear maps of known widths, one after the other; the first output can be kept for the end."""

    num_classes = 4

    def __init__(self, *, keep: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 100, bias=False), nn.Linear(100, 50, bias=False))
        self.last = nn.Linear(50, 100, bias=False)
        self.keep = keep

    def forward(self, images):
        first = self.layers[0](images)
        second = self.layers[1](first)
        if not self.keep:
            del first
            return self.last(second)
        return self.last(second) + first


def test_what_is_alive_at_once_by_hand():
    """[3, 4, 8] in, then [3, 4, 100], [3, 4, 50], [3, 4, 100]: twelve rows each; the input is held throughout."""
    plain = trace_model(Chain(keep=False).eval(), image=(3, 4, 8))
    kept = trace_model(Chain(keep=True).eval(), image=(3, 4, 8))
    assert peak_activations(plain) == 4 * 12 * (8 + 100 + 50)
    assert peak_activations(kept) == 4 * 12 * (8 + 100 + 50 + 100 + 100 - 0) - 4 * 12 * 0
    assert weights_in_memory(plain) == 4 * (800 + 5000 + 5000)


def test_fused_attention_keeps_no_scores():
    model = network("plain")
    fused = plan_of(model)
    for block in model.blocks:
        block.attn.fused_attn = False
    split = plan_of(model)
    writes = [next(op.writes for op in plan.ops if op.path == "blocks.0.attn.scores") for plan in (fused, split)]
    tokens, heads = fused.blocks[0].tokens, fused.blocks[0].heads
    assert writes == [0, heads * tokens * tokens]
    assert peak_activations(split) >= peak_activations(fused)


def test_peaks_follow_what_is_cut():
    plan = trace("digits_vit_base")
    peak = peak_memory(plan)
    for index in range(len(plan.blocks)):
        plan = plan.keep_hidden(index, 64)
    assert peak_memory(plan) < peak
    layers = [op.path for op in plan.ops if op.weights]
    packed = plan.set_bits(layers, weights=8, activations=32, scales=lambda op: 0)
    assert weights_in_memory(packed) == weights_in_memory(plan) - 3 * sum(op.weights for op in plan.ops)
    assert peak_activations(packed) == peak_activations(plan)


def test_tables_that_no_file_keeps_take_memory():
    plan = plan_of(network("swin"))
    tables = sum(op.constants for op in plan.ops)
    buffers = [b for name, b in network("swin").named_buffers()]
    assert tables == sum(b.numel() * b.element_size() for b in buffers) > 0
