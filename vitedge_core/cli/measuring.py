"""The verbs that carry a recipe out: compress it, measure it, find what broke, sweep its knobs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vitedge_core.cli import exporting
from vitedge_core.cli.asking import IMAGES, Adder, at_least_one, planned_of, recipe_of
from vitedge_core.cli.telling import print_compared, print_json, print_table, progress
from vitedge_core.recipe import Recipe


def compress(arguments: argparse.Namespace) -> None:
    """Carry out a recipe and write the package."""
    from vitedge_core.compress import compress as carry_out
    from vitedge_core.compress import context_for
    from vitedge_core.experiments.evaluate import costs
    from vitedge_core.experiments.evaluation import plain
    from vitedge_core.export.package import free_folder, write
    from vitedge_core.measure.size import weight_bytes
    from vitedge_core.models.load import preprocessing
    from vitedge_core.text.model_card import model_card

    recipe = recipe_of(arguments)
    planned_of(recipe)
    out = free_folder(Path(arguments.out))
    context = context_for(recipe, arguments.images)
    done = carry_out(recipe, context, progress)
    before, after = costs(done.plans[0]), costs(done.last)
    card = {"baseline": plain(before), "compressed": plain(after), "preparation": asdict(preprocessing(recipe.model))}
    folder = write(done.model, done.last, recipe, out, card, words=model_card)
    after["weight_bytes"] = weight_bytes(folder)
    progress.close()
    if arguments.json:
        figures = {"baseline": plain(before), "compressed": plain(after)}
        print_json({"recipe": recipe.to_dict(), "package": str(folder), **figures})
        return
    print_compared(before, after)
    print(f"Written to {folder}.")


def measure(arguments: argparse.Namespace) -> None:
    """Accuracy and latency of a recipe beside its baseline, or of an exported file."""
    if arguments.file is not None:
        exporting.measure_file(arguments)
        return
    recipe = recipe_of(arguments)
    planned_of(recipe)
    found = _measured(recipe, arguments)
    progress.close()
    if arguments.json:
        print_json({"engine": arguments.engine, **found.to_dict()})
        return
    from vitedge_core.text.human import change, human, interval

    print_compared(found.baseline, found.compressed)
    before, after = found.baseline["accuracy"], found.compressed["accuracy"]
    print(f"Accuracy changes by {change(before, after)} on {found.n:,} images, paired interval "
          f"{interval(found.difference, signed=True)}.")  # fmt: skip
    if found.ratio:
        print(f"Latency is {human(found.ratio)} that of the baseline, paired interval {interval(found.ratio)}.")
    for note in found.notes:
        print(note)


def _measured(recipe: Recipe, arguments: argparse.Namespace) -> Any:
    """The evaluation; timed as the pages do it, it is kept as a run, and not measured twice."""
    latency = not arguments.no_latency
    if not arguments.again and (arguments.threads, arguments.batch) == (1, 1):
        from vitedge_core.experiments.runs import measured

        return measured(
            recipe,
            arguments.images,
            arguments.limit,
            latency=latency,
            gaze=arguments.gaze,
            report=progress,
            origin="command line",
            engine=arguments.engine,
        )
    from vitedge_core.experiments.evaluate import evaluate

    return evaluate(
        recipe, arguments.images, arguments.limit, latency, gaze=arguments.gaze, report=progress,
        threads=arguments.threads, batch=arguments.batch, engine=arguments.engine,
    )  # fmt: skip


def broke(arguments: argparse.Namespace) -> None:
    """What a recipe breaks: layers that drift, answers that flip, attention that leaves the object."""
    from vitedge_core.experiments.sensitivity import sensitivity
    from vitedge_core.experiments.what_broke import plain, what_broke

    recipe = recipe_of(arguments)
    planned_of(recipe)
    found = what_broke(recipe, arguments.images, arguments.limit, report=progress)
    trials = sensitivity(recipe.model, arguments.images, report=progress) if arguments.sensitivity else None
    progress.close()
    if arguments.json:
        print_json({**found.to_dict(), "sensitivity": plain(trials)})
        return
    from vitedge_core.plots import agreement, divergence, object_gaze
    from vitedge_core.plots import sensitivity as map_of

    parts = [divergence.divergence_rows(found.divergence), agreement.flip_rows(found.agreement.flips)]
    parts += [agreement.class_rows(found.agreement)]
    parts += [object_gaze.look_rows(found.gaze, found.accuracy)] if found.gaze else []
    parts += [map_of.heat_rows(trials)] if trials else []
    for rows in parts:
        print_table([tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)])
        print()
    print(" ".join((found.divergence.rule, found.why_no_gaze, *found.notes)))


def sweep(arguments: argparse.Namespace) -> None:
    """Measure many recipes, on one machine or several; what it finds stands in the store."""
    from vitedge_core.experiments.sweep import run_sweep

    summary = run_sweep(
        Path(arguments.space), arguments.study, arguments.storage, trials=arguments.trials, workers=arguments.workers,
        report=progress,
    )  # fmt: skip
    progress.close()
    if arguments.json:
        print_json(summary)
        return
    skipped = f", {summary['skipped']} were not worth measuring" if summary["skipped"] else ""
    print(f"{summary['done']} of {summary['total']} recipes of {summary['study']} are measured{skipped}.")
    if summary["paused"]:
        print("It was paused; the same command goes on.")
    for settings, problem in summary["problems"].items():
        print(f"{settings}: {problem}")


def add(verb: Adder) -> None:
    """These verbs and their options."""
    own = verb(compress, recipe=True)
    own.add_argument("--out", required=True, metavar="DIR", help="folder of the package")
    own.add_argument("--images", metavar="DIR|digits", help=f"to calibrate and train on: {IMAGES}")
    own = verb(measure, recipe=True)
    own.add_argument("--file", metavar="PATH", help="an exported file instead of a recipe: .onnx, .xml or a package")
    own.add_argument("--images", metavar="DIR|digits", help=IMAGES)
    own.add_argument("--limit", type=at_least_one, metavar="N", help="images at most (all)")
    own.add_argument("--no-latency", action="store_true", help="accuracy only")
    own.add_argument("--again", action="store_true", help="measure even what is known, and keep nothing")
    own.add_argument("--gaze", action="store_true", help="where both look, too, if the images have masks")
    own.add_argument("--engine", default="eager", metavar="KEY", help="it runs in; see the verb engines (eager)")
    own.add_argument("--threads", type=at_least_one, default=1, metavar="N", help="of the timed passes (1)")
    own.add_argument("--batch", type=at_least_one, default=1, metavar="N", help="images in a timed pass (1)")
    own = verb(broke, recipe=True)
    own.add_argument("--images", metavar="DIR|digits", help=IMAGES)
    own.add_argument("--limit", type=at_least_one, default=500, metavar="N", help="images at most (500)")
    own.add_argument("--sensitivity", action="store_true", help="try every head, block and number of bits, too")
    own = verb(sweep)
    own.add_argument("space", metavar="SPACE.json", help="which recipes, and how they are searched")
    own.add_argument("--study", required=True, metavar="NAME", help="the same name, the same sweep")
    own.add_argument("--storage", metavar="URL", help="database of the runs, such as postgresql://user@host/name")
    own.add_argument("--trials", type=at_least_one, metavar="N", help="recipes at most, of all workers together")
    own.add_argument("--workers", type=at_least_one, default=1, metavar="N", help="processes on this machine (1)")
