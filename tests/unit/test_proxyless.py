"""ProxylessNAS: gradients of the choices, paths against what is cut out, expected times, and the target."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from referee import carried_out, claimed, counted
from torch import nn

from vitedge_core.cost.devices import device
from vitedge_core.cost.path_times import path_times
from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.grid import AFFINE, Grid, Scale
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.paths import Decision, Rounded
from vitedge_core.surgery.structure import Inner, cut
from vitedge_core.surgery.supernet import SearchedBlock, Widths, likeliest
from vitedge_core.techniques.path_latency import PathLatency
from vitedge_core.techniques.search.proxyless import FLOAT, ROUNDINGS, Proxyless, roofline_seconds

PI = "Raspberry Pi 5"


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def searched(host="plain", *, bits=False):
    """A supernet of a tiny network and its latency; scores are by lot."""
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    handles = blocks(model)
    roundings = ROUNDINGS if bits else ROUNDINGS[:1]
    widths = {i: Widths((h.heads, max(1, h.heads - 1)), (h.hidden, h.hidden // 2), roundings)
              for i, h in enumerate(handles)}  # fmt: skip
    scores = [Inner(torch.rand(h.heads, generator=generator(i)), torch.rand(h.hidden, generator=generator(i)))
              for i, h in enumerate(handles)]  # fmt: skip
    found = {i: SearchedBlock(h, scores[i], widths[i], generator(i)) for i, h in enumerate(handles)}
    table = path_times(plan, device(PI), {i: w.heads for i, w in widths.items()},
                       {i: w.hidden for i, w in widths.items()}, roundings)  # fmt: skip
    lists = {i: plan.blocks[i].path.rpartition(".")[0] for i in found}
    return model, plan, PathLatency(found, table, lists)


def installed(latency, model):
    for block in latency.blocks.values():
        block.install(model, {})
    return model


def test_what_the_gates_say_reaches_the_logits_as_the_softmax_says():
    decision = Decision(4, generator())
    pull = torch.randn(4, generator=generator(1))
    decision.learn(pull)
    (expected,) = torch.autograd.grad(decision.probabilities @ pull, decision.logits)
    assert torch.allclose(decision.logits.grad, expected, atol=1e-7)


def test_a_drawn_path_is_drawn_with_its_probability():
    decision, drawn = Decision(3, generator(), first=1.0), torch.zeros(3)
    for seed in range(600):
        decision.sample(generator(seed))
        drawn[decision.chosen] += 1
    assert torch.allclose(drawn / 600, decision.probabilities.detach(), atol=0.07)
    assert decision.gates.sum() == 1


@pytest.mark.parametrize("host", ["plain", "swin", "registers"])
def test_an_open_path_computes_what_the_cut_model_computes(host):
    model, _, latency = searched(host)
    small = copy.deepcopy(model)
    net = installed(latency, model)
    for block in latency.blocks.values():
        block.skip.open(0)
        block.width.open(1)
        block.neurons.open(1)
    for handle, block in zip(blocks(small), latency.blocks.values(), strict=True):
        cut(handle, type(block.chosen().kept)(block.heads[1], block.hidden[1]))
    with torch.no_grad():
        assert torch.allclose(net(tiny.images(2)), small(tiny.images(2)), atol=1e-5)


def test_a_skipped_block_hands_its_tokens_on():
    model, _, latency = searched()
    small = copy.deepcopy(model)
    del small.blocks[1]
    installed(latency, model)
    for index, block in latency.blocks.items():
        block.skip.open(int(index == 1))
    with torch.no_grad():
        assert torch.allclose(model(tiny.images(2)), small(tiny.images(2)), atol=1e-6)


def test_every_gate_of_a_learning_path_gets_a_gradient():
    model, _, latency = searched()
    installed(latency, model)
    for decision in latency.decisions:
        decision.open(0, learning=True)
    gates = [decision.gates for decision in latency.decisions]
    pulls = torch.autograd.grad(model(tiny.images(2)).square().sum(), gates)
    assert all(pull.abs().sum() > 0 for pull in pulls)


def test_a_rounded_layer_is_one_of_its_roundings():
    layer = nn.Linear(6, 4)
    coarse = Grid(Scale(torch.tensor(0.5), torch.tensor(0.0)), 4, AFFINE)
    decision = Decision(2, generator())
    rounded = Rounded(layer, [(nn.Identity(), nn.Identity()), (coarse, nn.Identity())], decision)
    x = torch.randn(3, 6, generator=generator(2))
    with torch.no_grad():
        assert torch.equal(rounded(x), layer(x))
        decision.open(1)
        assert torch.equal(rounded(x), layer(coarse(x)))
    decision.open(1, learning=True)
    assert torch.allclose(rounded(x), layer(coarse(x)), atol=1e-6)


@pytest.mark.parametrize("bits", [False, True])
def test_times_of_paths_are_those_of_their_plans(bits):
    _, plan, latency = searched(bits=bits)
    for block in latency.blocks.values():
        block.width.logits.data[1] = 9.0
        for decision in block.rounding:
            decision.logits.data[len(decision.logits) - 1] = 9.0
    narrowed = plan
    for index, block in latency.blocks.items():
        narrowed = narrowed.keep_heads(index, len(block.heads[1]))
    if bits:
        paths = [f"{b.path}.{n}" for b in plan.blocks for n in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")]
        narrowed = narrowed.set_bits(paths, weights=4, activations=8, scales=lambda op: 0)
    assert latency.seconds() == pytest.approx(roofline_seconds(narrowed, PI), rel=1e-6)


@pytest.mark.slow
def test_the_expected_time_is_the_mean_of_the_paths():
    _, _, latency = searched(bits=True)
    drawn = []
    with torch.no_grad():
        kept = [decision.logits.clone() for decision in latency.decisions]
        for seed in range(1500):
            shared = generator(seed)
            for decision, logits in zip(latency.decisions, kept, strict=True):
                decision.logits.copy_(logits)
                decision.sample(shared)
            for decision in latency.decisions:
                decision.logits[decision.chosen] = 99.0
            drawn.append(latency.seconds())
        for decision, logits in zip(latency.decisions, kept, strict=True):
            decision.logits.copy_(logits)
    assert float(latency.expected().detach()) == pytest.approx(sum(drawn) / len(drawn), rel=0.03)


@pytest.mark.parametrize("target", [0.9, 0.6, 0.45])
def test_a_tightened_path_meets_its_limit(target):
    _, plan, latency = searched("swin")
    limit = target * roofline_seconds(plan, PI)
    latency.tighten(limit)
    assert latency.seconds() <= limit
    for name in set(latency.lists.values()):
        assert any(not likeliest(b.skip) for i, b in latency.blocks.items() if latency.lists[i] == name)


def test_what_cannot_be_met_ends_at_the_shortest_path():
    _, _, latency = searched()
    latency.tighten(0.0)
    assert sum(not likeliest(block.skip) for block in latency.blocks.values()) == 1


@pytest.mark.parametrize("bits", [False, True])
def test_the_search_meets_its_target_and_its_plan_is_true(bits):
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    found = Proxyless(target=0.5, bits=bits, images=160, seconds=60)
    small, after = carried_out(found, model, plan, tiny.context())
    assert claimed(after) == counted(small, after)
    assert roofline_seconds(after, PI) <= 0.5 * roofline_seconds(plan, PI) * 1.001


def test_the_same_seed_chooses_the_same_path():
    model = tiny.network("plain")
    plan = tiny.plan_of(model)
    found = [Proxyless(images=160, seconds=60).decide(model, plan, tiny.context()).chosen for _ in range(2)]
    assert found[0] == found[1]
    assert any(one.bits == (FLOAT,) * 4 for _, one in found[0])


@pytest.mark.slow
def test_time_in_the_loss_makes_paths_shorter(monkeypatch):
    """Without the pressure the chances stay with the wide path."""
    from vitedge_core.techniques.search import proxyless

    seconds = []
    for pressure in (0.0, 50.0):
        monkeypatch.setattr(proxyless, "PRESSURE", pressure)
        model = tiny.network("plain")
        search = proxyless._Search(Proxyless(target=0.3, images=480, seconds=60), model, tiny.plan_of(model),
                                   tiny.context())  # fmt: skip
        search.run(tiny.stream)
        seconds.append(float(search.latency.expected().detach()))
    assert seconds[1] < 0.9 * seconds[0]


def test_it_refuses_in_a_sentence():
    plan = tiny.plan_of(tiny.network("plain"))
    assert "choose another device" in Proxyless(board="Hailo-8").supports(plan)
    assert "did you mean" in Proxyless(board="Raspbery Pi 5").supports(plan)
    assert "choose a plain ViT" in Proxyless().supports(tiny.plan_of(tiny.network("convnet")))
    with pytest.raises(VitEdgeError, match="training images"):
        Proxyless().decide(tiny.network("plain"), plan, tiny.context(stream=None))
