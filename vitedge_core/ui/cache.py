"""The only home of `st.cache_*`: what sessions may share. Everything here is immutable, copied, or locked by itself.

Heavy packages are imported inside the functions, so that the first page stands before they are there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import state
from vitedge_core.ui.worker import Task, Work, Worker

if TYPE_CHECKING:
    from PIL import Image

    from vitedge_core.compress import Planned
    from vitedge_core.cost.calibration import Calibration
    from vitedge_core.cost.edge_accuracy import Accuracy
    from vitedge_core.cost.edge_latency import EdgeLatencies
    from vitedge_core.cost.edge_report import EdgeRow
    from vitedge_core.cost.edge_target import Target
    from vitedge_core.cost.reasons import Cause
    from vitedge_core.cost.report import Cost
    from vitedge_core.datasets.sets import LabelledImages
    from vitedge_core.experiments.counter_proof import Counter
    from vitedge_core.experiments.gaze import Gaze
    from vitedge_core.experiments.presets import Preset
    from vitedge_core.models.zoo import ModelCard
    from vitedge_core.techniques.base import Technique

QUICK = 500  # images after which the first accuracy is shown


@st.cache_resource(show_spinner=False)
def worker() -> Worker:
    """The one thread that measures, for all sessions."""
    return Worker()


@st.cache_resource(show_spinner=False)
def catalogue() -> dict[str, type[Technique]]:
    """Every technique by key, in the order of the catalogue."""
    import vitedge_core.techniques  # noqa: F401  importing registers them
    from vitedge_core import registry

    return {cls.card.key: cls for cls in registry.techniques()}


def models() -> dict[str, ModelCard]:
    """Every model of the catalogue by name; read anew each time, because a student may have been trained meanwhile."""
    from vitedge_core.models.zoo import cards

    return {card.name: card for card in cards()}


def model_title(name: str) -> str:
    """What people call a model; its name if nobody knows it."""
    from vitedge_core.models.zoo import called

    return called(name)


def title_of(step: Step) -> str:
    """A step's method in words; its key if nobody knows it."""
    known = catalogue().get(step.technique)
    return known.card.title if known else step.technique


def labels() -> dict[str, str]:
    """Titles of all methods by key, and what their knobs are called within a sentence, by "method.knob"."""
    known = catalogue()
    titles = {key: cls.card.title for key, cls in known.items()}
    return titles | {f"{key}.{name}": inside(label) for key in known for name, label in labels_of(key).items()}


def inside(label: str) -> str:
    """A label within a sentence; "MLP neurons" keeps its capitals."""
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


def labels_of(technique: str) -> dict[str, str]:
    """What a method's knobs are called, by name; none if nobody knows the method."""
    known = catalogue().get(technique)
    return {knob.name: knob.label for knob in known.knobs()} if known else {}


def planned(recipe: Recipe) -> tuple[Planned, tuple[Cost, ...]]:
    """The plan and the cost after every step; the first are the baseline's. They are immutable, so sessions share them.

    Raises:
        VitEdgeError: The model is unknown.
    """
    found = _planned(recipe)
    if not found[0].last.exact:  # it may have become exact meanwhile, by being carried out
        _planned.clear(recipe)
        found = _planned(recipe)
    return found


@st.cache_resource(max_entries=512, show_spinner=False)
def _planned(recipe: Recipe) -> tuple[Planned, tuple[Cost, ...]]:
    from vitedge_core.compress import plan_recipe
    from vitedge_core.cost.report import cost

    plans = plan_recipe(recipe)
    return plans, tuple(cost(plan) for plan in plans.plans)


def priced(recipe: Recipe, image: int, batch: int) -> tuple[Planned, Cost, Cost]:
    """The plans, and what baseline and compressed model cost at this input size and batch; immutable, shared.

    Raises:
        VitEdgeError: The model is unknown or cannot take images of that size, or the batch is no number of images.
    """
    found = _priced(recipe, image, batch)
    if not found[0].last.exact:
        _priced.clear(recipe, image, batch)
        found = _priced(recipe, image, batch)
    return found


@st.cache_resource(max_entries=256, show_spinner=False)
def _priced(recipe: Recipe, image: int, batch: int) -> tuple[Planned, Cost, Cost]:
    from vitedge_core.compress import plan_recipe
    from vitedge_core.cost.report import cost

    plans = plan_recipe(recipe, image)
    return plans, cost(plans.plans[0], batch), cost(plans.last, batch)


@st.cache_resource(show_spinner="Fitting the model of edge latencies, once; a few seconds …")
def edge_latencies() -> EdgeLatencies:
    """The model of the published latencies, fitted."""
    from vitedge_core.cost.edge_latency import edge_latencies as published

    found = published()
    _ = found.model, found.widths, found.residuals
    return found


def counter_recipe(planned: Planned, cause: Cause) -> Counter | None:
    """The recipe that removes a cause, if there is one; finding it tries many."""
    return _counter_recipe(planned.recipe, planned.last.exact, cause, planned)


@st.cache_resource(max_entries=128, show_spinner=False)
def _counter_recipe(recipe: Recipe, exact: bool, cause: Cause, _planned: Planned) -> Counter | None:
    from vitedge_core.experiments.counter_proof import counter

    return counter(_planned, cause)


def edge_rows(planned: Planned, targets: tuple[Target, ...]) -> tuple[EdgeRow, ...]:
    """A recipe on the calibrated boards and on these targets."""
    from vitedge_core.cost.own_devices import calibrations

    boards = calibrations()
    named = tuple((board.name, board.measured, board.macs_per_second) for board in boards)
    return _edge_rows(planned.runnable, planned.last.exact, targets, named, planned, boards)


@st.cache_resource(max_entries=64, show_spinner=False)
def _edge_rows(
    recipe: Recipe, exact: bool, targets: tuple[Target, ...], named: tuple[Any, ...], _planned: Planned,
    _boards: tuple[Calibration, ...],
) -> tuple[EdgeRow, ...]:  # fmt: skip
    from vitedge_core.cost.edge_report import edge_rows as computed

    return computed(_planned.plans[0], _planned.last, targets, edge_latencies(), boards=_boards)


@st.cache_resource(max_entries=64, show_spinner=False)
def presets(model: str) -> tuple[Preset, ...]:
    """Recipes to start from, fitted to a model; none for a model nobody knows."""
    from vitedge_core.experiments.presets import presets as fitted

    try:
        return fitted(model)
    except VitEdgeError:
        return ()


@st.cache_data(max_entries=256, show_spinner=False)
def supported(key: str) -> list[str]:
    """On which bundled models a method works, one line of markdown each."""
    from vitedge_core.models.zoo import BUNDLED
    from vitedge_core.ui.gallery import support

    return support(key, tuple(BUNDLED))


def unmeasurable(model: str, images: str | None) -> str | None:
    """None, or the sentence that says what is missing to measure the model, and how to get it."""
    from vitedge_core.compress import default_images

    missing = without_weights(model)
    if missing or images or default_images(model):
        return missing
    return f"There are no images for {model} here: name a folder of class folders in the sidebar, or in VITEDGE_IMAGES."


@st.cache_data(ttl=60, max_entries=64, show_spinner=False)
def without_weights(model: str) -> str | None:
    """None, or the sentence that says why the model has no weights here and how to get them."""
    from vitedge_core.models.load import has_weights, load

    return None if has_weights(model) else load(model).note


def test_images(model: str, images: str | None) -> str | None:
    """What `open_images` takes for pictures to show to the model: the person's folder, the model's own, or None."""
    from vitedge_core.compress import default_images

    return images or default_images(model)


@st.cache_resource(max_entries=8, ttl=300, show_spinner="Opening the images …")
def gallery(model: str, where: str) -> tuple[LabelledImages, tuple[int, ...]]:
    """A set of labelled images, and the numbers of a few that show its classes.

    Raises:
        VitEdgeError: There is no such set, or its classes are not the model's.
    """
    from vitedge_core.compress import matching
    from vitedge_core.datasets.sets import open_images

    images = matching(model, open_images(where))
    first = {images.label(index): index for index in reversed(range(min(len(images), 200)))}
    return images, tuple(first[label] for label in sorted(first)[:10])


@st.cache_resource(max_entries=16, show_spinner="Carrying out the recipe and looking at the image …")
def gaze(recipe: Recipe, images: str | None, digest: str, _image: Image.Image, *, weighted: bool = False) -> Gaze:
    """What a model and what the recipe makes of it see in an image; `digest` names the image.

    Raises:
        VitEdgeError: The model has no weights here, or a step cannot be carried out.
    """
    from vitedge_core.experiments.gaze import look

    return look(recipe, _image, images, weighted=weighted)


@st.cache_resource(show_spinner="Predicting every published latency without its own rows …")
def edge_errors() -> tuple[Accuracy, ...]:
    """How far predicted edge latencies are off, for every way to hold rows out."""
    from vitedge_core.cost.edge_accuracy import DEVICE, NETWORK, PAIR, accuracy
    from vitedge_core.cost.edge_latency import edge_latencies

    return tuple(line for held_out in (NETWORK, PAIR, DEVICE) for line in accuracy(edge_latencies(), held_out))


def background(key: tuple[Any, ...], work: Work, order: int = 0) -> Task:
    """Work for the measuring thread on behalf of this session; the same key is done once for everybody.

    Args:
        key: Names the result completely: what for ("quick", "package"), digest, images, settings.
        work: `work(report, cancelled)`; calls no Streamlit, returns something immutable.
        order: Lower goes first.

    Raises:
        VitEdgeError: Too much is waiting.
    """
    return worker().ask(key, work, _watcher(key[0]), order)


def found(key: tuple[Any, ...]) -> Task | None:
    """The task of that key, if it was ever asked for."""
    return worker().find(key)


def leave_but(*keys: tuple[Any, ...], purposes: Collection[str]) -> None:
    """Of the tasks for these purposes (the first part of a key) this session no longer waits for any but `keys`."""
    for purpose in purposes:
        worker().leave(_watcher(purpose), but=keys)


def _watcher(purpose: str) -> str:
    return f"{state.session_key()} {purpose}"
