"""Time by kind of operation: every module has its kind, the parts are the whole, and no hook stays."""

from __future__ import annotations

import pytest
import tiny
from torch import nn

from vitedge_core.errors import Cancelled
from vitedge_core.experiments.kinds import in_float
from vitedge_core.measure import kinds as subject
from vitedge_core.measure.kinds import kind_times, kinds_of
from vitedge_core.plan import FLOAT_BITS, Kind
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("host", tiny.HOSTS)
def test_the_kinds_of_a_pass_sum_to_it_and_no_hook_stays(host):
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    found = kind_times(model, plan, tiny.images(1), seconds=0.0, least=3)
    assert hooks(model) == 0
    assert all(0 <= value.low <= value.value <= value.high for _, value in found.seconds)
    assert sum(value.value for _, value in found.seconds) == pytest.approx(found.watched.value, rel=0.5)
    wanted = {op.kind for op in plan.ops if op.macs}
    assert wanted <= {kind for kind, _ in found.seconds}, "a kind that multiplies takes time"


def test_modules_have_the_kind_of_what_they_compute():
    model = tiny.network("plain")
    kinds = kinds_of(model, tiny.plan_of(model))
    assert kinds["blocks.0.attn.qkv"] is Kind.QKV
    assert kinds["blocks.0.attn"] is Kind.ATTENTION
    assert kinds["blocks.0.mlp.fc2"] is Kind.MLP
    assert kinds["blocks.0.norm1"] is Kind.NORM
    assert kinds["head"] is Kind.HEAD
    assert kinds["patch_embed.proj"] is Kind.PATCH_EMBED


def test_time_goes_to_the_part_that_takes_it(monkeypatch):
    """A clock of ours: it moves on in the MLP only."""
    model, ticks = tiny.network("plain"), [0.0]
    monkeypatch.setattr(subject, "clock", lambda: lambda: ticks[0])
    for block in model.blocks:
        block.mlp.fc1.register_forward_hook(lambda *_: ticks.__setitem__(0, ticks[0] + 2.0))
    found = dict(kind_times(model, tiny.plan_of(model), tiny.images(1), seconds=0.0, least=2).seconds)
    assert found[Kind.MLP].value == pytest.approx(6.0)
    assert sum(value.value for value in found.values()) == pytest.approx(6.0)


def test_hooks_are_gone_after_an_error_and_after_cancelling():
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    with pytest.raises(RuntimeError), subject._clocks(model, kinds_of(model, plan), {}, lambda: 0.0):
        raise RuntimeError
    assert hooks(model) == 0
    with pytest.raises(Cancelled):
        kind_times(model, plan, tiny.images(1), cancelled=lambda: True)
    assert hooks(model) == 0


def test_the_roofline_beside_eager_is_that_of_floats():
    plan = UniformPtq(w_bits=4, a_bits=8).plan(tiny.plan_of(tiny.network("plain")))
    assert plan.quantised
    plain = in_float(plan)
    assert not plain.quantised
    assert {op.w_bits for op in plain.ops} == {FLOAT_BITS}
    assert plain.macs == plan.macs
