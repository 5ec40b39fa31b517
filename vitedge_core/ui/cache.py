"""The only home of `st.cache_*`: what sessions may share. Everything here is immutable, copied, or locked by itself.

Heavy packages are imported inside the functions, so that the first page stands before they are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe, Step
from vitedge_core.ui import state
from vitedge_core.ui.worker import Task, Work, Worker

if TYPE_CHECKING:
    from vitedge_core.compress import Planned
    from vitedge_core.cost.report import Cost
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


def title_of(step: Step) -> str:
    """A step's method in words; its key if nobody knows it."""
    known = catalogue().get(step.technique)
    return known.card.title if known else step.technique


@st.cache_resource(max_entries=512, show_spinner=False)
def planned(recipe: Recipe) -> Planned:
    """The plan after every step. Plans are immutable, so sessions share them.

    Raises:
        VitEdgeError: The model is unknown.
    """
    from vitedge_core.compress import plan_recipe

    return plan_recipe(recipe)


@st.cache_resource(max_entries=512, show_spinner=False)
def costs(recipe: Recipe) -> tuple[Cost, ...]:
    """The cost after every step of `planned(recipe)`; the first is the baseline's.

    Raises:
        VitEdgeError: The model is unknown.
    """
    from vitedge_core.cost.report import cost

    return tuple(cost(plan) for plan in planned(recipe).plans)


def background(key: tuple[Any, ...], work: Work, order: int = 0) -> Task:
    """Work for the measuring thread on behalf of this session; the same key is done once for everybody.

    Args:
        key: Names the result completely: digest, images, settings.
        work: `work(report, cancelled)`; calls no Streamlit, returns something immutable.
        order: Lower goes first.

    Raises:
        VitEdgeError: Too much is waiting.
    """
    return worker().ask(key, work, state.session_key(), order)


def found(key: tuple[Any, ...]) -> Task | None:
    """The task of that key, if it was ever asked for."""
    return worker().find(key)


def leave_but(*keys: tuple[Any, ...]) -> None:
    """This session no longer waits for anything but these keys."""
    worker().leave(state.session_key(), but=keys)


def unless_error(recipe: Recipe) -> tuple[Cost, ...] | str:
    """The costs, or the sentence that says why there are none."""
    try:
        return costs(recipe)
    except VitEdgeError as error:
        return str(error)
