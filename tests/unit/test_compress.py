"""Recipes carried out: shapes and models agree, shared beginnings are computed once, nothing remembered is changed."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass

import homegrown
import pytest
import torch
from torch import nn

from vitedge_core import compress as subject
from vitedge_core import registry
from vitedge_core.compress import compress, context_for, plan_recipe, technique_of
from vitedge_core.datasets import wild_digits
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.models.load import load
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Card, Context, Family, Technique, knob, settled

IMAGES = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Noisy(Technique):
    """Adds noise to the classifier; counts how often it is carried out; its plan is an estimate until decided."""

    card = Card("noisy", "Noise", Family.PRUNING, "nobody, 2026")
    scale: float = knob(0.1, 0.0, 1.0, 0.1, label="Scale", help="of the noise")
    heads: int = 0
    log = []  # noqa: RUF012  shared on purpose

    def supports(self, plan):
        return "Noise is never added twice." if plan.blocks[0].heads == 1 else None

    def decide(self, model, plan, context):
        assert not model.training
        return settled(self, heads=1)

    def plan(self, plan):
        return plan.keep_heads(0, self.heads or 2)

    def apply(self, model, context):
        self.log.append(self.scale)
        context.report(0.5, "adding noise")
        context.check_cancelled()
        with torch.no_grad():
            model.head.weight += self.scale * torch.randn(model.head.weight.shape, generator=context.generator)
        return model.train()


@dataclass(frozen=True)
class Looking(Technique):
    """Adds the mean of the calibration images to the classifier's bias."""

    card = Card("looking", "Looks", Family.PRUNING, "nobody, 2026", calibrates=True)

    def plan(self, plan):
        return plan

    def apply(self, model, context):
        with torch.no_grad():
            model.head.bias += context.images.mean() + context.labels.float().mean()
        return model


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    Noisy.log.clear()
    subject._memory.clear()
    for cls in (Noisy, Looking):
        monkeypatch.setitem(registry._known, cls.card.key, cls)
    small = wild_digits.compose("train", 0, count=16)
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: small)


@pytest.fixture(scope="module")
def name() -> str:
    return homegrown.keep("compress")


def recipe(name: str, *steps: Step, seed: int = 0) -> Recipe:
    return Recipe(name, steps, seed)


def noise(scale: float) -> Step:
    return Step.of("noisy", scale=scale)


LOOK = Step.of("looking")


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_step_names_its_technique():
    assert technique_of(noise(0.3)) == Noisy(scale=0.3)
    with pytest.raises(VitEdgeError, match="did you mean 'noisy'"):
        technique_of(Step.of("noisi"))
    with pytest.raises(VitEdgeError, match="noisy has no knob 'scal'; did you mean scale"):
        technique_of(Step.of("noisy", scal=1))
    with pytest.raises(VitEdgeError, match="outside 0 to 1"):
        technique_of(noise(9.0))


def test_the_plan_has_a_stage_for_each_active_step(name):
    off = Step.of("noisy", enabled=False)
    planned = plan_recipe(recipe(name, LOOK, off, noise(0.1)))
    assert [p.blocks[0].heads for p in planned.plans] == [3, 3, 2]
    assert planned.techniques == (Looking(), Noisy(scale=0.1))
    assert planned.problems == {}
    assert planned.runnable == recipe(name, LOOK, noise(0.1))


def test_a_step_that_cannot_be_is_told_and_skipped(name):
    planned = plan_recipe(recipe(name, Step.of("nosy"), noise(0.1), noise(7.0)))
    assert planned.problems.keys() == {0, 2}
    assert "did you mean 'noisy'" in planned.problems[0]
    assert planned.techniques == (None, Noisy(), None)
    assert planned.plans[1] == planned.plans[0]
    assert planned.plans[3] == planned.plans[2]
    assert planned.runnable.steps == (noise(0.1),)


def test_an_unknown_model_is_an_error():
    with pytest.raises(VitEdgeError, match="There is no model"):
        plan_recipe(Recipe("mine/nobody"))


def test_without_steps_the_model_itself_comes_back(name):
    done = compress(recipe(name))
    assert same(done.model, load(name).model)
    assert done.plans == (trace(name),)
    assert done.last is done.plans[-1]


def test_steps_are_carried_out_in_order_and_leave_eval_mode(name):
    done = compress(recipe(name, noise(0.1), LOOK))
    assert not done.model.training
    assert not same(done.model, load(name).model)
    assert done.techniques == (Noisy(heads=1), Looking())
    assert [p.blocks[0].heads for p in done.plans] == [3, 1, 1]
    with torch.inference_mode():
        assert torch.isfinite(done.model(IMAGES)).all()


def test_what_cannot_be_carried_out_is_an_error(name):
    with pytest.raises(VitEdgeError, match="never added twice"):
        compress(recipe(name, noise(0.1), noise(0.2)))
    with pytest.raises(VitEdgeError, match="did you mean 'noisy'"):
        compress(recipe(name, Step.of("nosy")))


def test_the_plan_is_exact_once_the_recipe_was_carried_out(name):
    steps = (noise(0.1), LOOK)
    assert plan_recipe(recipe(name, *steps)).plans[1].blocks[0].heads == 2
    compress(recipe(name, *steps))
    planned = plan_recipe(recipe(name, *steps))
    assert planned.plans[1].blocks[0].heads == 1
    assert planned.techniques[0] == Noisy(heads=1)


def test_shared_beginnings_are_computed_once(name):
    compress(recipe(name, noise(0.1)))
    compress(recipe(name, noise(0.1), LOOK))
    compress(recipe(name, noise(0.1), LOOK))
    assert Noisy.log == [0.1]
    compress(recipe(name, noise(0.2), LOOK))
    assert Noisy.log == [0.1, 0.2]


def test_what_is_remembered_equals_what_is_computed_anew(name):
    whole = recipe(name, LOOK, noise(0.4))
    compress(recipe(name, LOOK))
    remembered = compress(whole).model
    subject._memory.clear()
    assert same(remembered, compress(whole).model)


def test_the_seed_decides(name):
    one, again, other = (compress(recipe(name, noise(0.4), seed=s)).model for s in (0, 0, 1))
    assert same(one, again)
    assert not same(one, other)


def test_changing_a_result_changes_nothing_remembered(name):
    for steps in ((), (noise(0.1),)):
        done = compress(recipe(name, *steps))
        before = copy.deepcopy(done.model)
        with torch.no_grad():
            for parameter in done.model.parameters():
                parameter.zero_()
        assert same(compress(recipe(name, *steps)).model, before)


def test_other_images_are_other_results(name, monkeypatch):
    one = compress(recipe(name, LOOK)).model
    monkeypatch.setattr(wild_digits, "VERSION", 99)
    other = wild_digits.compose("train", 5, count=16)
    monkeypatch.setattr(wild_digits, "load", lambda split="test", count=0, seed=0: other)
    assert not same(compress(recipe(name, LOOK)).model, one)


def test_a_context_of_ones_own_is_not_remembered(name):
    context = Context(IMAGES, torch.tensor([1, 2]))
    for _ in range(2):
        compress(recipe(name, noise(0.1)), context)
    assert Noisy.log == [0.1, 0.1]


def test_images_are_opened_only_when_a_step_looks(name, monkeypatch):
    def fails(*_):
        raise AssertionError("nobody looked")

    monkeypatch.setattr(wild_digits, "load", fails)
    compress(recipe(name, noise(0.1)))
    with pytest.raises(AssertionError, match="nobody looked"):
        compress(recipe(name, LOOK))


def test_a_model_without_images_says_so_when_a_step_looks(monkeypatch):
    monkeypatch.delenv("VITEDGE_IMAGES", raising=False)
    context = context_for(Recipe("deit_tiny_patch16_224"))
    assert context.stream is None
    with pytest.raises(VitEdgeError, match="set VITEDGE_IMAGES"):
        _ = context.images


def test_images_of_other_classes_are_refused():
    with pytest.raises(VitEdgeError, match="names imagenet classes"):
        context_for(Recipe("deit_tiny_patch16_224"), "digits")


def test_the_context_supplies_a_stream_and_teachers(name):
    context = context_for(recipe(name))
    assert context.images.shape == (16, 3, 48, 48)
    assert context.labels is not None
    assert context.stream is not None
    assert context.teacher is not None
    assert next(context.stream(1)).images.shape == (64, 3, 48, 48)
    assert same(context.teacher(""), load(name).model)


def test_images_that_an_engine_asked_for_first_can_be_trained_on(name):
    """Engines run in inference mode; what is made there cannot be part of a training, and images are kept."""
    context = context_for(recipe(name))
    with torch.inference_mode():
        assert not context.images.is_inference()
        assert not context.labels.is_inference()
    assert not context.images.is_inference()


def test_no_weights_is_an_error_with_the_way_out(monkeypatch):
    monkeypatch.delenv("VITEDGE_WEIGHTS", raising=False)
    monkeypatch.setattr("vitedge_core.models.hub.reachable", lambda: False)
    with pytest.raises(VitEdgeError, match="VITEDGE_WEIGHTS"):
        compress(Recipe("deit_tiny_patch16_224", (noise(0.1),)))


def test_progress_rises_to_one(name):
    told: list[tuple[float, str]] = []
    compress(recipe(name, noise(0.1), LOOK), report=lambda share, sentence: told.append((share, sentence)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert (0.25, "Step 1 of 2: adding noise") in told
    assert told[-1] == (1.0, "Carried out.")


def test_a_cancelled_step_leaves_nothing_behind(name):
    asked = iter([False, False, True])
    with pytest.raises(Cancelled):
        compress(recipe(name, noise(0.1)), cancelled=lambda: next(asked))
    assert plan_recipe(recipe(name, noise(0.1))).plans[1].blocks[0].heads == 2
    compress(recipe(name, noise(0.1)))
    assert len(Noisy.log) == 2


def test_several_threads_compute_a_beginning_once(name):
    models: list[nn.Module] = []
    work = [
        threading.Thread(target=lambda: models.append(compress(recipe(name, noise(0.1), LOOK)).model)) for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert Noisy.log == [0.1]
    assert len(models) == 4
    assert all(same(models[0], model) for model in models)


def test_who_waits_for_another_can_be_cancelled(name):
    begun, go = threading.Event(), threading.Event()

    def slow() -> bool:
        begun.set()
        go.wait(10)
        return False

    other = threading.Thread(target=compress, args=(recipe(name, noise(0.1)),), kwargs={"cancelled": slow})
    context = context_for(recipe(name))
    key = (recipe(name, noise(0.1)).digest, context.key)  # type: ignore[attr-defined]
    with subject._memory._turn(key, lambda: False), pytest.raises(Cancelled):
        compress(recipe(name, noise(0.1)), cancelled=iter([False, True]).__next__)
    other.start()
    begun.wait(10)
    go.set()
    other.join()
    assert Noisy.log == [0.1]


def test_the_memory_is_bounded(name, monkeypatch):
    size = sum(p.numel() * 4 for p in load(name).model.parameters())
    monkeypatch.setattr(subject._memory, "limit", int(2.5 * size))
    for scale in (0.1, 0.2, 0.3):
        compress(recipe(name, noise(scale)))
    assert len(subject._memory._stages) == 2
    compress(recipe(name, noise(0.3)))
    assert Noisy.log == [0.1, 0.2, 0.3]
    compress(recipe(name, noise(0.1)))
    assert Noisy.log[-1] == 0.1


def test_scores_of_units_are_computed_once_for_every_ratio(monkeypatch):
    """What a step finds out about the model before it serves other ratios, and gives the same models."""
    from vitedge_core.techniques.pruning import head_mlp_taylor

    counted = []
    weigh = head_mlp_taylor.taylor
    monkeypatch.setattr(head_mlp_taylor, "taylor", lambda *a, **o: counted.append(1) or weigh(*a, **o))
    recipes = [Recipe("digits_vit_small", (Step.of("head_mlp_taylor", ratio=ratio),)) for ratio in (0.2, 0.5)]
    subject._memory.clear()
    together = [compress(recipe) for recipe in recipes]
    assert len(counted) == 1
    subject._memory.clear()
    alone = compress(recipes[1])
    assert len(counted) == 2
    for one, other in zip(alone.model.state_dict().values(), together[1].model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    uncompensated = Recipe("digits_vit_small", (Step.of("head_mlp_taylor", ratio=0.5, compensate=False),))
    compress(uncompensated)
    assert len(counted) == 3, "other knobs, other scores"


def test_activations_are_watched_once_for_any_bits_of_the_weights(monkeypatch):
    from vitedge_core.surgery import rounding

    watched = []
    observe = rounding._observe
    monkeypatch.setattr(rounding, "_observe", lambda *given: watched.append(1) or observe(*given))
    steps = [Step.of("uniform_ptq", w_bits=bits, a_bits=8) for bits in (8, 4)]
    recipes = [Recipe("digits_vit_small", (step,)) for step in steps]
    subject._memory.clear()
    together = [compress(recipe) for recipe in recipes]
    assert len(watched) == 1
    subject._memory.clear()
    alone = compress(recipes[1])
    for one, other in zip(alone.model.state_dict().values(), together[1].model.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    compress(Recipe("digits_vit_small", (Step.of("uniform_ptq", w_bits=4, a_bits=6),)))
    assert len(watched) == 3, "other bits of the activations, other grids"
