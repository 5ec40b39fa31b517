"""The verb that takes a recipe's model away as a file, and what measures such files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from vitedge_core.cli.asking import IMAGES, Adder, planned_of, recipe_of
from vitedge_core.cli.telling import print_json, print_table, progress
from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity

_CHECKED = {"same_answers": "Same answers", "largest_difference": "Largest difference of a logit"}


def export(arguments: argparse.Namespace) -> None:
    """Carry out a recipe and write its model as a file for another runtime."""
    from vitedge_core.experiments.take_away import take_away
    from vitedge_core.export import form
    from vitedge_core.text.model_card import model_card

    wanted, recipe = form(arguments.to), recipe_of(arguments)
    planned_of(recipe)
    written = take_away(recipe, wanted, Path(arguments.out), arguments.images, words=model_card, report=progress)
    progress.close()
    figures = {"size": written.size, **written.check}
    if arguments.json:
        plain = {name: found.to_dict() for name, found in figures.items()}
        about = {"recipe": recipe.to_dict(), "form": wanted.key, "file": str(written.path)}
        print_json({**about, **plain, "notes": list(written.notes)})
        return
    _print(figures)
    for sentence in (*written.notes, wanted.lacks, f"Written to {written.path}."):
        print(sentence)


def forms(arguments: argparse.Namespace) -> None:
    """List the forms in which a model can leave."""
    from vitedge_core.export import FORMS

    if arguments.json:
        print_json([
            {"form": f.key, "title": f.title, "ending": f.ending, "purpose": f.purpose, "lacks": f.lacks,
             "missing": f.missing()}
            for f in FORMS
        ])  # fmt: skip
        return
    print_table([("Form", "File", "What it is for"), *((f.key, f.ending, f.missing() or f.purpose) for f in FORMS)])


def measure_file(arguments: argparse.Namespace) -> None:
    """Accuracy and latency of an exported file, beside its model in PyTorch."""
    from vitedge_core.backends import BASELINE
    from vitedge_core.experiments.measure_file import measure_file as measured

    given = {
        "--recipe": arguments.recipe is not None, "--step": arguments.step, "--batch": arguments.batch != 1,
        "--engine": arguments.engine != BASELINE.key, "--gaze": arguments.gaze,
    }  # fmt: skip
    if any(given.values()):
        options = ", ".join(option for option, value in given.items() if value)
        raise VitEdgeError(f"A file brings its own recipe and engine; leave {options} out, and name at most a --model.")
    found = measured(
        Path(arguments.file), arguments.images, arguments.limit, model=arguments.model or "",
        latency=not arguments.no_latency, threads=arguments.threads, report=progress,
    )  # fmt: skip
    progress.close()
    if arguments.json:
        print_json(found.to_dict())
        return
    _print(found.figures)
    for note in found.notes:
        print(note)


def _print(figures: Mapping[str, Quantity]) -> None:
    """A row for each figure, with what it rests on."""
    from vitedge_core.experiments.measure_file import FIGURES
    from vitedge_core.text.human import human, interval

    titles = FIGURES | _CHECKED
    rows = [("", "Value", "95 % interval", "Evidence", "Source")]
    for name, found in figures.items():
        signed = name == "difference"
        bounds = interval(found, signed=signed)
        rows.append((titles[name], human(found, signed=signed), bounds, found.evidence, found.source))
    print_table(rows)


def add(verb: Adder) -> None:
    """These verbs and their options."""
    own = verb(export, recipe=True)
    own.add_argument("--to", required=True, metavar="FORM", help="package, onnx, ...; the verb forms lists them")
    own.add_argument("--out", required=True, metavar="PATH", help="the file, with the ending of the form")
    own.add_argument("--images", metavar="DIR|digits", help=f"to calibrate on and to check the file with: {IMAGES}")
    verb(forms)
