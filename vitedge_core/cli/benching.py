"""The verbs of engines: which there are, and how fast recipes really run in them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from vitedge_core.cli.asking import IMAGES, Adder, at_least_one, counts, names, planned_of, recipe_of, stored_recipe
from vitedge_core.cli.telling import print_json, print_table, progress
from vitedge_core.errors import VitEdgeError
from vitedge_core.recipe import Recipe


def engines(arguments: argparse.Namespace) -> None:
    """Engines that can run a recipe, and what is missing for the others."""
    from vitedge_core.backends import ENGINES

    if arguments.json:
        print_json({"engines": [_engine(one) for one in ENGINES]})
        return
    rows = [("Key", "Title", "What it does, or what is missing")]
    rows += [(one.key, one.title, one.missing() or one.about) for one in ENGINES]
    print_table(rows)


def _engine(one: Any) -> dict[str, Any]:
    return {"key": one.key, "title": one.title, "about": one.about, "missing": one.missing()}


def bench(arguments: argparse.Namespace) -> None:
    """Time recipes in engines, in turn with their baseline in eager float32."""
    from vitedge_core.experiments.bench import Request
    from vitedge_core.experiments.bench import bench as measured

    recipes = _recipes(arguments)
    keys = arguments.engines or _usual()
    request = Request(recipes, keys, _settings(arguments), arguments.images, _limit(arguments), arguments.seconds)
    rows = measured(request, again=arguments.again, report=progress)
    progress.close()
    if arguments.json:
        print_json({"rows": [row.to_dict() for row in rows]})
        return
    _print(rows)


def _recipes(arguments: argparse.Namespace) -> tuple[Recipe, ...]:
    """Those that stand on the line, or the one that the options describe."""
    if not arguments.recipes:
        found = (recipe_of(arguments),)
    elif arguments.recipe is not None or arguments.model is not None or arguments.step:
        raise VitEdgeError("Recipes stand on the line, or --recipe, --model and --step describe one, but not both.")
    else:
        found = tuple(map(stored_recipe, arguments.recipes))
    for recipe in found:
        planned_of(recipe)
    return found


def _usual() -> tuple[str, ...]:
    from vitedge_core.backends import ENGINES
    from vitedge_core.experiments.bench import USUAL

    return tuple(one.key for one in ENGINES if one.key in USUAL and one.missing() is None)


def _settings(arguments: argparse.Namespace) -> Any:
    from vitedge_core.experiments.bench_rows import Setting

    return tuple(
        Setting(batch, count, arguments.end_to_end) for batch in arguments.batch for count in arguments.threads
    )


def _threads(text: str) -> tuple[int, ...]:
    """Numbers of threads with commas between them; "all" is every core's."""
    return counts(",".join(str(os.cpu_count() or 1) if word == "all" else word for word in names(text)))


def _limit(arguments: argparse.Namespace) -> int | None:
    """Images of the agreement: none unless asked for."""
    if not arguments.agreement:
        return 0
    return arguments.limit


def _print(rows: Sequence[Any]) -> None:
    """A table, and below it what must be known of it."""
    from vitedge_core.plots.benchmark import agreement_words, notes, row_words

    told = [row_words(row) for row in rows]
    print_table([tuple(told[0]), *(tuple(line.values()) for line in told)])
    answered = [agreement_words(row) for row in rows if row.agreement]
    if answered:
        print()
        print_table([tuple(answered[0]), *(tuple(line.values()) for line in answered)])
    for note in notes(rows):
        print(note)


def add(verb: Adder) -> None:
    """These verbs and their options."""
    verb(engines)
    own = verb(bench, recipe=True)
    own.add_argument("recipes", nargs="*", metavar="RECIPE", help="recipe files, or tokens of links")
    own.add_argument("--engines", type=names, default=(), metavar="A,B", help="see the verb engines (the usual ones)")
    own.add_argument("--batch", type=counts, default=(1,), metavar="N,N", help="images in a pass (1)")
    own.add_argument("--threads", type=_threads, default=(1,), metavar="N,N|all", help="of each engine (1)")
    own.add_argument("--end-to-end", action="store_true", help="decode, resize and normalise files in every pass, too")
    own.add_argument("--agreement", action="store_true", help="compare answers with the eager model's, too")
    own.add_argument("--images", metavar="DIR|digits", help=IMAGES)
    own.add_argument("--limit", type=at_least_one, metavar="N", help="images of the agreement at most (all)")
    own.add_argument("--seconds", type=float, default=2.0, metavar="S", help="of timing for each engine (2)")
    own.add_argument("--again", action="store_true", help="measure even what is known on this machine")
