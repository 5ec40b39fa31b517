"""Carry out a recipe: on shapes at once, on a real model step by step, remembering what shared beginnings gave.

A step draws its random numbers from the recipe's seed and its own place, never from what ran before it, so a model
from the memory is the same, bit for bit, as one computed anew.
"""

from __future__ import annotations

import copy
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

import vitedge_core.techniques  # noqa: F401  fills the registry
from vitedge_core import registry
from vitedge_core.datasets.batch import Batch
from vitedge_core.datasets.sets import DIGITS, LabelledImages, open_images
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.models.load import load, preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.models.trained import fill, shipped
from vitedge_core.models.zoo import card
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe, Step
from vitedge_core.techniques.base import Context, Technique

Report = Callable[[float, str], None]
MEMORY = 512 * 2**20  # bytes of models that are remembered


@dataclass(frozen=True, slots=True)
class Planned:
    """What a recipe does to the shapes.

    plans: the model's, then one after each active step; a step that cannot be carried out changes nothing.
    techniques: of each active step, None where it cannot be carried out. problems: why, by the number of the step
    among the active ones.
    """

    recipe: Recipe
    plans: tuple[Plan, ...]
    techniques: tuple[Technique | None, ...]
    problems: dict[int, str]

    @property
    def last(self) -> Plan:
        """The shapes in the end."""
        return self.plans[-1]

    @property
    def runnable(self) -> Recipe:
        """The recipe without what is switched off and what cannot be carried out; this one can be compressed."""
        steps = tuple(s for number, s in enumerate(self.recipe.active) if number not in self.problems)
        return replace(self.recipe, steps=steps)


@dataclass(frozen=True, slots=True)
class Compressed:
    """A real model after its recipe. `model` is the caller's own copy, in eval mode; the techniques are decided."""

    recipe: Recipe
    model: nn.Module
    plans: tuple[Plan, ...]
    techniques: tuple[Technique, ...]

    @property
    def last(self) -> Plan:
        """The shapes in the end."""
        return self.plans[-1]


def technique_of(step: Step) -> Technique:
    """The technique a step names, with its knobs.

    Raises:
        VitEdgeError: There is no such technique or knob (the sentence names the nearest), or a value is out of range.
    """
    return registry.technique(step.technique).from_knobs(step.knobs)


def plan_recipe(recipe: Recipe, image: int | None = None) -> Planned:
    """What the recipe does to the shapes: instant, without weights.

    A step whose choice depends on weights is planned exactly once the recipe has been carried out in this process.

    Raises:
        VitEdgeError: Nobody knows the model. What is wrong with a step is told in `problems` instead.
    """
    plans, techniques, problems = [trace(recipe.model, image)], [], {}
    done = replace(recipe, steps=())
    for number, step in enumerate(recipe.active):
        try:
            wider = replace(done, steps=(*done.steps, step))
            technique = _memory.decided(wider.digest) or technique_of(step)
            plans.append(_after(plans[-1], technique))
            techniques.append(technique)
            done = wider
        except VitEdgeError as error:
            problems[number] = str(error)
            plans.append(plans[-1])
            techniques.append(None)
    return Planned(recipe, tuple(plans), tuple(techniques), problems)


def compress(
    recipe: Recipe,
    context: Context | None = None,
    report: Report | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Compressed:
    """Carry out the recipe on the real model.

    Args:
        recipe: Every active step is carried out, in order.
        context: Where techniques find images; by default `context_for(recipe)`. Only what is computed with such a
            context is remembered.
        report: Called with the share done in 0..1 and a sentence; by default the context's.
        cancelled: Asked often; true raises `Cancelled`, and what was finished until then stays remembered.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
    """
    context = context or context_for(recipe)
    report, cancelled = report or context.report, cancelled or context.cancelled
    stage = _Stage(None, (trace(recipe.model),), ())
    count = len(recipe.active)
    for number, prefix in enumerate(recipe.prefixes[1:]):
        own = _context_of_step(context, recipe.seed, number)
        own.report, own.cancelled = _share_of(report, number, count), cancelled
        own.shared = _memory.beside(recipe.prefixes[number], context)
        own.check_cancelled()
        stage = _memory.stage(prefix, context, cancelled, lambda p=prefix, s=stage, c=own: _carry_out(p, s, c))
    model = load_trained(recipe.model) if stage.model is None else copy.deepcopy(stage.model)
    report(1.0, "Carried out.")
    return Compressed(recipe, model.eval(), stage.plans, stage.techniques)


def load_trained(name: str) -> nn.Module:
    """A fresh copy of the uncompressed model.

    Raises:
        VitEdgeError: Its weights are not at hand; the sentence says how to get them.
    """
    loaded = load(name)
    if loaded.weights is None:
        raise VitEdgeError(loaded.note)
    return loaded.model


@dataclass(frozen=True, slots=True)
class _Stage:
    """What a prefix gave; `model` is None before the first step and must be copied before it is changed."""

    model: nn.Module | None
    plans: tuple[Plan, ...]
    techniques: tuple[Technique, ...]

    @property
    def bytes(self) -> int:
        """Memory of its weights."""
        assert self.model is not None
        tensors = (*self.model.parameters(), *self.model.buffers())
        return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())


def _after(plan: Plan, technique: Technique) -> Plan:
    problem = technique.supports(plan)
    if problem:
        raise VitEdgeError(problem)
    return technique.plan(plan)


def _carry_out(prefix: Recipe, before: _Stage, context: Context) -> _Stage:
    """The last step of `prefix` on top of what the steps before it gave."""
    plan, technique = before.plans[-1], technique_of(prefix.steps[-1])
    _after(plan, technique)
    model = load_trained(prefix.model) if before.model is None else copy.deepcopy(before.model)
    context.report(0.0, "Starting.")
    technique = technique.decide(model.eval(), plan, context)
    after = _after(plan, technique)
    context.check_cancelled()
    name = _shipped(prefix, context) if technique.card.trains else None
    if name:
        context.report(1.0, f"Trained before: {name} comes with VitEdge.")
        changed = fill(model, name)
    else:
        changed = technique.apply(model, context).eval()
    changed.zero_grad(set_to_none=True)
    return _Stage(changed, (*before.plans, after), (*before.techniques, technique))


def spelled_out(recipe: Recipe) -> Recipe:
    """The recipe with every knob of its active steps named, so that two that do the same are the same."""
    return replace(recipe, steps=tuple(technique_of(step).step for step in recipe.active))


def _shipped(recipe: Recipe, context: Context) -> str | None:
    """The name of the trained weights that come with VitEdge for this recipe on these images, if there are any."""
    images = getattr(context, "key", None)
    return None if images is None else shipped(spelled_out(recipe), images)


def trains(recipe: Recipe, images: str | None = None) -> bool:
    """Whether carrying the recipe out takes a training whose result does not come with VitEdge.

    Args:
        recipe: Its steps may be such that nobody knows them.
        images: What `open_images` takes; by default the model's own.
    """
    training = [prefix for prefix in recipe.prefixes[1:] if _step_trains(prefix.steps[-1])]
    if not training:
        return False
    if (images or default_images(recipe.model)) != DIGITS:
        return True
    try:
        return not all(shipped(spelled_out(prefix), open_images(DIGITS).digest) for prefix in training)
    except VitEdgeError:
        return True


def _step_trains(step: Step) -> bool:
    return any(known.card.key == step.technique and known.card.trains for known in registry.techniques())


def _context_of_step(context: Context, seed: int, number: int) -> Context:
    """The context with a generator that depends on the recipe's seed and the step's place only."""
    own = copy.copy(context)
    mixed = hashlib.sha256(f"{seed} {number}".encode()).digest()
    own.generator = torch.Generator().manual_seed(int.from_bytes(mixed[:6], "big"))
    return own


def _share_of(report: Report, number: int, count: int) -> Report:
    """A step's progress as a share of the whole recipe's."""
    return lambda share, sentence: report(
        (number + min(1.0, max(0.0, share))) / count, f"Step {number + 1} of {count}: {sentence}"
    )


class _Memory:
    """What prefixes gave, by recipe and images; the least recently used are forgotten beyond `limit` bytes."""

    def __init__(self, limit: int = MEMORY) -> None:
        self.limit = limit
        self._stages: OrderedDict[tuple[str, str], _Stage] = OrderedDict()
        self._decided: OrderedDict[str, Technique] = OrderedDict()
        self._beside: OrderedDict[tuple[str, str], dict[Any, Any]] = OrderedDict()
        self._turns: WeakValueDictionary[tuple[str, str], threading.Lock] = WeakValueDictionary()
        self._lock = threading.Lock()

    def decided(self, digest: str) -> Technique | None:
        """The last step of that recipe with its choices settled, if it was ever carried out."""
        with self._lock:
            return self._decided.get(digest)

    def stage(
        self, prefix: Recipe, context: Context, cancelled: Callable[[], bool], compute: Callable[[], _Stage]
    ) -> _Stage:
        """What the prefix gave; computed by one caller while others who want the same wait for it."""
        images = getattr(context, "key", None)
        if images is None:
            return compute()
        key = (prefix.digest, images)
        with self._turn(key, cancelled):
            with self._lock:
                if key in self._stages:
                    self._stages.move_to_end(key)
                    return self._stages[key]
            stage = compute()
            self._keep(key, stage)
            return stage

    @contextmanager
    def _turn(self, key: tuple[str, str], cancelled: Callable[[], bool]) -> Iterator[None]:
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        while not turn.acquire(timeout=0.1):
            if cancelled():
                raise Cancelled
        try:
            yield
        finally:
            turn.release()

    def beside(self, prefix: Recipe, context: Context) -> dict[Any, Any] | None:
        """A place for what steps find out about the model after the prefix: small things such as scores of units."""
        images = getattr(context, "key", None)
        if images is None:
            return None
        with self._lock:
            found = self._beside.setdefault((prefix.digest, images), {})
            self._beside.move_to_end((prefix.digest, images))
            while len(self._beside) > 64:
                self._beside.popitem(last=False)
            return found

    def _keep(self, key: tuple[str, str], stage: _Stage) -> None:
        with self._lock:
            self._decided[key[0]] = stage.techniques[-1]
            while len(self._decided) > 4_096:
                self._decided.popitem(last=False)
            self._stages[key] = stage
            total = sum(kept.bytes for kept in self._stages.values())
            while total > self.limit:
                total -= self._stages.popitem(last=False)[1].bytes

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._stages.clear()
            self._beside.clear()
            self._decided.clear()


_memory = _Memory()


class _Supplies(Context):
    """A context that opens its images only when a technique looks at them.

    key: names images and labels, so that results can be remembered.
    """

    def __init__(self, recipe: Recipe, images: LabelledImages | None) -> None:
        # the parent's constructor would want the images now
        self.key = images.digest if images is not None else "no images"
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.report = lambda share, sentence: None
        self.cancelled = lambda: False
        self.teacher = lambda name: load_trained(name or recipe.model)
        self.stream = None
        if images is not None:
            self.stream = lambda seed: images.stream(preprocessing(recipe.model), seed)
        self._batch = lru_cache(lambda: _calibration(recipe.model, images))

    @property
    def images(self) -> Tensor:  # type: ignore[override]
        """Calibration images, read when first asked for."""
        return self._batch().images

    @property
    def labels(self) -> Tensor | None:  # type: ignore[override]
        """Their labels."""
        return self._batch().labels


@torch.inference_mode(mode=False)  # it is kept, and a training step may take what an engine asked for first
def _calibration(model: str, images: LabelledImages | None) -> Batch:
    if images is None:
        raise VitEdgeError(
            f"A step of this recipe looks at images and there are none for {model}; set VITEDGE_IMAGES to a folder of "
            "class folders named after the model's classes, or name such a folder."
        )
    return images.calibration(preprocessing(model))


def default_images(model: str) -> str | None:
    """What `open_images` takes for the model: the digits; for ImageNet the folder VITEDGE_IMAGES names; else None."""
    task = card(model).task
    if task == "digits":
        return DIGITS
    return os.environ.get("VITEDGE_IMAGES") or None if task == "imagenet" else None


def matching(model: str, images: LabelledImages) -> LabelledImages:
    """The images, if their classes are those of the model.

    Raises:
        VitEdgeError: They are not.
    """
    known = card(model)
    classes = trace(model).classes
    if known.task and images.task and known.task != images.task:
        raise VitEdgeError(f"{model} names {known.task} classes and {images.title} holds {images.task} ones.")
    if classes != len(images.class_names):
        raise VitEdgeError(
            f"{model} names {classes:,} classes and {images.title} has {len(images.class_names):,}; choose images of "
            "the model's classes."
        )
    return images


def context_for(recipe: Recipe, images: str | LabelledImages | None = None) -> Context:
    """What the techniques of a recipe may use: calibration images, training batches, teachers.

    Of the digits 256 images of the training split calibrate; of a folder the first 64 of the second half of its
    shuffled order, whose first half (`LabelledImages.unseen`) then is for testing.

    Args:
        recipe: Its model says how images are prepared.
        images: A set or what `open_images` takes; by default the model's own (`default_images`).

    Raises:
        VitEdgeError: There is no such folder, or its classes are not the model's.
    """
    where = images if images is not None else default_images(recipe.model)
    opened = open_images(where) if isinstance(where, str) else where
    return _Supplies(recipe, None if opened is None else matching(recipe.model, opened))
