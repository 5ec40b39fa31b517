"""The verb that turns a target into recipes."""

from __future__ import annotations

import argparse
from typing import Any

from vitedge_core.cli.asking import Adder
from vitedge_core.cli.telling import print_json, print_table
from vitedge_core.errors import VitEdgeError


def advise(arguments: argparse.Namespace) -> None:
    """Recipes for a device and its limits, from what was measured."""
    from vitedge_core.backends import engine as named
    from vitedge_core.cost.edge_latency import edge_latencies
    from vitedge_core.experiments.advisor import Wish
    from vitedge_core.experiments.advisor import advise as answer
    from vitedge_core.experiments.points import image_sets
    from vitedge_core.experiments.runs import all_runs

    wish = Wish(
        arguments.device, _scaled(arguments.ms, 1e-3), _scaled(arguments.mb, 1e6), _scaled(arguments.memory, 1e6),
        _scaled(arguments.lost, 0.01),
    )  # fmt: skip
    known = all_runs(engine=named(arguments.engine).title)
    runs = [run for run in known if not arguments.model or run.recipe.model in arguments.model]
    if not runs:
        raise VitEdgeError("Nothing was measured for that yet; measure recipes first, with measure or sweep.")
    images = image_sets(runs)[0]
    runs = [run for run in runs if run.evaluation.digest == images.digest]
    found = answer(runs, {run.recipe.model for run in runs}, wish, edge_latencies())
    ranked = (*found.fitting, *found.missing)[: arguments.top]
    if arguments.json:
        gives = [{"limit": g.name, "value": g.limit.to_dict(), **_plain(g.advice)} for g in found.gives]
        plain = {"fitting": len(found.fitting), "considered": found.considered, "images": images.title}
        print_json({**plain, "recipes": [_plain(one) for one in ranked], "gives": gives})
        return
    print(f"{len(found.fitting)} of {found.considered} recipes measured on {images.title} fit.")
    names = [condition.name for condition in ranked[0].conditions]
    print_table([["Fits", "Chance", "Accuracy", *names, "Binding", "Recipe"], *(_row(one) for one in ranked)])
    for given in found.gives:
        print(f"With {_told(given.limit)} of {given.name} it would be: {_words(given.advice)}.")


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _row(advice: Any) -> list[str]:
    figures = [_told(condition.figure) if condition.figure else "unknown" for condition in advice.conditions]
    binding = advice.binding.name if advice.binding else ""
    accuracy = _told(advice.accuracy)
    return ["yes" if advice.fits else "no", f"{100 * advice.chance:.0f} %", accuracy, *figures, binding, _words(advice)]


def _told(figure: Any) -> str:
    from vitedge_core.text.human import human

    return human(figure)


def _words(advice: Any) -> str:
    steps = [f"{step.technique}:{','.join(f'{k}={v}' for k, v in step.params)}" for step in advice.recipe.active]
    return " ".join([advice.recipe.model, *steps])


def _plain(advice: Any) -> dict[str, Any]:
    return {
        "recipe": advice.recipe.to_dict(), "fits": advice.fits, "chance": advice.chance, "n": advice.n,
        "accuracy": advice.accuracy.to_dict(),
        "target": advice.target and {"runtime": advice.target.runtime, "precision": advice.target.precision},
        "binding": advice.binding and advice.binding.name,
        "conditions": [
            {"name": c.name, "limit": c.limit, "figure": c.figure and c.figure.to_dict(), "chance": c.chance,
             "why": c.why}
            for c in advice.conditions
        ],
    }  # fmt: skip


def add(verb: Adder) -> None:
    """The verb and its options."""
    own = verb(advise)
    own.add_argument("--device", default="", metavar="NAME", help="with published latencies (this machine)")
    own.add_argument("--model", action="append", default=[], metavar="NAME", help="repeatable (all that were measured)")
    own.add_argument("--ms", type=float, metavar="MS", help="time of one image at most")
    own.add_argument("--mb", type=float, metavar="MB", help="file of the weights at most")
    own.add_argument("--memory", type=float, metavar="MB", help="weights and activations alive at once, at most")
    own.add_argument("--lost", type=float, metavar="POINTS", help="accuracy that may be lost")
    own.add_argument("--engine", default="eager", metavar="KEY", help="they were measured in; see engines (eager)")
    own.add_argument("--top", type=int, default=10, metavar="N", help="recipes to print (10)")
