"""Tiny models after a technique, in an engine, and how far its answers lie from theirs."""

from __future__ import annotations

import tiny
from torch import Tensor, nn

from vitedge_core.backends import engine
from vitedge_core.backends.base import Artefact, Source
from vitedge_core.plan import Plan
from vitedge_core.techniques.base import Technique


def carried_out(technique: Technique | None, host: str = "plain") -> tuple[nn.Module, Plan]:
    """A tiny model after a technique, and its plan."""
    model = tiny.network(host)
    plan = tiny.plan_of(model)
    if technique is None:
        return model, plan
    decided = technique.decide(model, plan, tiny.context())
    return decided.apply(model, tiny.context()).eval(), decided.plan(plan)


def built(key: str, model: nn.Module, plan: Plan) -> Artefact:
    return engine(key).build(Source(model, plan, tiny.images(1), lambda: tiny.images(4)))


def relative(got: Tensor, want: Tensor) -> float:
    return float((got - want).norm() / want.norm())
