"""Importance by gradients: what it is made of, and that it finds the units that matter."""

from __future__ import annotations

import pytest
import tiny
import torch
import torch.nn.functional as F

from vitedge_core.errors import VitEdgeError
from vitedge_core.surgery.host import blocks
from vitedge_core.surgery.importance import taylor
from vitedge_core.surgery.structure import inner_means
from vitedge_core.techniques.pruning.head_mlp_taylor import HeadMlpTaylor


def loss_of(model, images, labels) -> torch.Tensor:
    return F.cross_entropy(model(images), labels)


def test_a_gate_that_is_closed_a_little_changes_the_loss_by_the_score():
    """The score of a neuron, for one image, is the slope of the loss by its gate."""
    model, images, labels = tiny.network("plain").double(), tiny.images(1).double(), tiny.labels(1)
    scores = taylor(model, blocks(model), images, labels)
    column = model.blocks[1].mlp.fc2.weight
    for neuron in (0, 17, 90):
        with torch.no_grad():
            before, kept, step = loss_of(model, images, labels), column[:, neuron].clone(), 1e-5
            column[:, neuron] *= 1 - step
            slope = (loss_of(model, images, labels) - before) / step
            column[:, neuron] = kept
        torch.testing.assert_close(scores[1].hidden[neuron].double(), slope.abs(), rtol=1e-3, atol=1e-6)


def test_the_same_for_a_head_of_a_window():
    model, images, labels = tiny.network("swin").double(), tiny.images(1).double(), tiny.labels(1)
    scores = taylor(model, blocks(model), images, labels)
    handle = blocks(model)[1]
    width, step = handle.head_width, 1e-5
    with torch.no_grad():
        before = loss_of(model, images, labels)
        handle.attn.proj.weight[:, width : 2 * width] *= 1 - step
        slope = (loss_of(model, images, labels) - before) / step
    torch.testing.assert_close(scores[1].heads[1].double(), slope.abs(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("host", ["plain", "swin"])
def test_batches_do_not_matter(host):
    model, images, labels = tiny.network(host), tiny.images(40), tiny.labels(40)
    whole = taylor(model, blocks(model), images, labels)
    parts = [taylor(model, blocks(model), images[i : i + 1], labels[i : i + 1]) for i in range(40)]
    for index, score in enumerate(whole):
        torch.testing.assert_close(score.heads, torch.stack([part[index].heads for part in parts]).mean(0))
        torch.testing.assert_close(score.hidden, torch.stack([part[index].hidden for part in parts]).mean(0))


def test_a_unit_that_nobody_reads_has_no_importance():
    model = tiny.network("plain")
    with torch.no_grad():
        model.blocks[0].mlp.fc2.weight[:, 5] = 0
    scores = taylor(model, blocks(model), tiny.images(4), tiny.labels(4))
    assert scores[0].hidden[5] == 0
    assert (scores[0].hidden == 0).sum() == 1


def test_a_constant_unit_costs_nothing_once_its_mean_is_made_up_for():
    model = tiny.network("plain")
    with torch.no_grad():
        model.blocks[0].mlp.fc1.weight[5] = 0  # its neuron always gives GELU(bias)
        model.blocks[0].mlp.fc1.bias[5] = 2.0
    handles, images, labels = blocks(model), tiny.images(4), tiny.labels(4)
    means = inner_means(model, handles, images)
    assert taylor(model, handles, images, labels)[0].hidden[5] > 1e-3
    assert taylor(model, handles, images, labels, means=means)[0].hidden[5] < 1e-5


def test_a_frozen_model_can_be_judged():
    model = tiny.network("plain")
    expected = taylor(model, blocks(model), tiny.images(4), tiny.labels(4))
    model.requires_grad_(requires_grad=False)
    with torch.no_grad():
        found = taylor(model, blocks(model), tiny.images(4), tiny.labels(4))
    torch.testing.assert_close(found[0].hidden, expected[0].hidden)


def test_without_labels_it_says_so():
    model = tiny.network("plain")
    with pytest.raises(VitEdgeError, match="labelled calibration images"):
        HeadMlpTaylor().decide(model, tiny.plan_of(model), tiny.context(labels=None))


@pytest.mark.parametrize("host", ["plain", "swin"])
def test_what_is_judged_unimportant_is_missed_less(host):
    """Removing the least important half changes the answers less than removing the most important half."""
    model, context = tiny.network(host), tiny.context(24)
    plan = tiny.plan_of(model)
    found = HeadMlpTaylor(ratio=0.5, compensate=False).decide(model, plan, context)
    scores = taylor(model, blocks(model), context.images, tiny.labels(24))
    losses = []
    with torch.no_grad():
        before = loss_of(model, context.images, tiny.labels(24))
        for choice in (dict(found.kept or ()), most_important_gone(model, scores)):
            other = tiny.network(host)
            for handle in blocks(other):
                gone = sorted(set(range(handle.hidden)) - set(choice[handle.path].hidden))
                handle.mlp.fc2.weight[:, gone] = 0
            losses.append(float((loss_of(other, context.images, tiny.labels(24)) - before).abs()))
    assert losses[0] < losses[1]


def most_important_gone(model, scores):
    from vitedge_core.surgery.structure import Kept

    halves = {}
    for handle, score in zip(blocks(model), scores, strict=True):
        order = score.hidden.argsort().tolist()
        halves[handle.path] = Kept((), tuple(sorted(order[: handle.hidden // 2])))
    return halves
