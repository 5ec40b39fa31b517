"""Trials cut short say what the whole changed network says, and the sensitivity map is made of them."""

from __future__ import annotations

import copy
from dataclasses import replace

import homegrown
import pytest
import tiny
import torch
from referee import hooks_on, same, state_of

from vitedge_core.compress import plan_recipe
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled
from vitedge_core.experiments.sensitivity import sensitivity
from vitedge_core.experiments.trials import BITS, BLOCK, HEAD, MLP, BlockTrials, Change, Trials, roundings
from vitedge_core.recipe import Recipe
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.structure import Kept, cut
from vitedge_core.techniques.base import settled
from vitedge_core.techniques.quantization.uniform_ptq import UniformPtq

PLACE = {"plain": 1, "registers": 2, "swin": 3}  # swin's is the second block of the second stage


def bench(host: str, kind=BlockTrials):
    network = tiny.network(host)
    context = tiny.context()
    rounding, notes = roundings(tiny.plan_of(network), network, context)
    assert not notes
    return kind(network, [tiny.images(4), tiny.images(3, 1)], context, rounding)


def whole(model, images):
    with torch.no_grad():
        return torch.cat([model(batch) for batch in images])


def by_hand(host: str, network, change: Change):
    """The same change made to the whole network by the methods' own means."""
    place, changed = PLACE[host], copy.deepcopy(network)
    handle = blocks(changed)[place]
    if change.kind == BLOCK:
        drop_blocks(changed, [place])
    elif change.kind == HEAD:
        cut(handle, Kept(tuple(h for h in range(handle.heads) if h != change.number), ()))
    elif change.kind == MLP:
        for parameter in handle.mlp.fc2.parameters():
            torch.nn.init.zeros_(parameter)
    else:
        technique = UniformPtq(w_bits=change.number, a_bits=change.number)
        sites = technique.decide(changed, tiny.plan_of(changed), tiny.context()).sites or ()
        own = tuple(site for site in sites if site.path.startswith(f"{handle.path}."))
        changed = settled(technique, sites=own).apply(changed, tiny.context())
    return changed.eval()


@pytest.mark.parametrize("host", list(PLACE))
@pytest.mark.parametrize("change", [Change(HEAD, 1), Change(MLP), Change(BLOCK), Change(BITS, 4)], ids=str)
def test_a_trial_is_the_whole_network_with_that_change(host, change):
    trials = bench(host)
    before = state_of(trials.network)
    untouched = trials.untouched()
    torch.testing.assert_close(untouched, whole(trials.network, trials.shown))
    found = trials.run(PLACE[host], change)
    expected = whole(by_hand(host, trials.network, change), trials.shown)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=1e-3)
    assert not torch.allclose(found, untouched, atol=2e-3)
    assert same(before, state_of(trials.network))
    assert not list(hooks_on(trials.network))


def test_what_stands_before_the_changed_block_does_not_run():
    trials = bench("plain")
    trials.untouched()
    runs: list[int] = []
    for number, block in enumerate(trials.network.blocks):
        block.register_forward_hook(lambda *_, number=number: runs.append(number))
    trials.run(1, Change(BLOCK))
    assert set(runs) == {2}


def test_layers_of_a_convolutional_network_get_fewer_bits_one_at_a_time():
    trials = bench("convnet", Trials)
    untouched = trials.untouched()
    todo = list(trials.all())
    assert {change.kind for _, change in todo} == {BITS}
    assert len(todo) == 4 * len(trials.names)
    coarse, fine = (
        (trials.run(1, Change(BITS, bits)) - untouched).abs().mean() for bits in (2, 8)
    )  # fmt: skip
    assert coarse > fine > 0


@pytest.fixture(scope="module")
def found():
    made = {split: wild_digits.compose(split, 0, count=24) for split in wild_digits.SPLITS}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: made[split])
        name = homegrown.keep("sensitivity")
        shares: list[float] = []
        yield name, sensitivity(name, limit=16, report=lambda share, _: shares.append(share)), shares


def test_every_part_of_every_block_is_tried(found):
    _, result, shares = found
    assert result.places == ("Block 1", "Block 2", "Block 3")
    assert [change.title for change in result.changes] == [
        "head 1", "head 2", "head 3", "MLP", "whole block", "8 bits", "4 bits", "3 bits", "2 bits",
    ]  # fmt: skip
    assert len(result.cells) == 27
    assert result.n == 16
    assert shares == sorted(shares)
    for cell in result.cells:
        assert "same 16 images" in cell.loss.source
        assert cell.divergence.value >= 0
        assert cell.drop.low <= cell.drop.value <= cell.drop.high
    mean = {bits: sum(result.at(p, Change(BITS, bits)).divergence.value for p in range(3)) for bits in (2, 8)}
    assert mean[2] > mean[8]


def test_a_cell_leads_to_a_step_that_can_be_carried_out(found):
    name, result, _ = found
    steps = [cell.step for cell in result.cells if cell.step is not None]
    assert len(steps) == 3 * 4
    for step in steps:
        assert not plan_recipe(Recipe(name, (step,))).problems
    spared = plan_recipe(Recipe(name, (result.at(1, Change(BITS, 3)).step,))).last
    assert {op.w_bits for op in spared.ops if op.block == 1 and op.weights and op.macs} == {8}
    assert {op.w_bits for op in spared.ops if op.block == 2 and op.weights and op.macs} == {3}


def test_it_can_be_stopped(found):
    with pytest.raises(Cancelled):
        sensitivity(found[0], limit=8, cancelled=lambda: True)


def test_a_network_that_refuses_few_bits_says_so():
    network = tiny.network("plain")
    plan = tiny.plan_of(network)
    quantised = UniformPtq().decide(network, plan, tiny.context()).plan(plan)
    rounding, notes = roundings(quantised, network, replace(tiny.context()))
    assert not rounding
    assert notes[0].startswith("No trials with fewer bits: ")
