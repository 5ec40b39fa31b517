"""The verbs that train: a student with and without a teacher, the bundled models."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from vitedge_core.cli.asking import Adder
from vitedge_core.cli.telling import print_json, print_table, progress
from vitedge_core.errors import unknown

_CHECKED = 640  # images of a training that is only to be seen to run


def distil(arguments: argparse.Namespace) -> None:
    """Train a student with and without a teacher, and keep it."""
    from vitedge_core.experiments.distil_job import run_job
    from vitedge_core.experiments.lesson import Settings

    names = ("teacher", "student", "temperature", "weight", "seconds", "start", "images", "seed")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    result = run_job(Settings(**given), arguments.job, progress)
    progress.close()
    if arguments.json:
        print_json(result.to_dict())
        return
    from vitedge_core.text.human import human, interval

    rows = [("", "Top-1", "95 % interval")]
    for name in ("teacher", "before", "alone", "taught", "gain"):
        quantity = getattr(result, name)
        if quantity is not None:
            rows.append((name, human(quantity, signed=name == "gain"), interval(quantity)))
    print_table(rows)
    print(f"The student with the teacher is kept as {result.model}.")


def train(arguments: argparse.Namespace) -> None:
    """Train bundled models from their seeds into assets/weights, and recipes of experiments/winners.py."""
    from vitedge_core.experiments import pretrain, winners
    from vitedge_core.models import trained
    from vitedge_core.models.zoo import WEIGHTS

    known = (*pretrain.TRAININGS, *winners.WINNERS)
    for name in arguments.names or known:
        if name not in known:
            raise unknown("bundled model or recipe", name, known)
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.names or known:
            place = WEIGHTS if name in pretrain.TRAININGS else trained.FOLDER
            folder = Path(arguments.out or (scratch if arguments.check else place))
            if name in pretrain.TRAININGS:
                training = pretrain.shorter(pretrain.TRAININGS[name], _CHECKED) if arguments.check else None
                path = pretrain.train(name, folder, training, log=_log)
            else:
                path = winners.train(name, folder, images=_CHECKED if arguments.check else None, log=_log)
            print(f"{name} trains." if folder == Path(scratch) else path)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def add(verb: Adder) -> None:
    """These verbs and their options."""
    own = verb(distil)
    own.add_argument("--teacher", required=True, metavar="NAME", help="a model that was trained on the digits")
    own.add_argument("--student", required=True, metavar="NAME", help="a model to train, from scratch any of timm")
    own.add_argument("--temperature", type=float, metavar="T", help="1 to 20 (2)")
    own.add_argument("--weight", type=float, metavar="SHARE", help="of the loss that comes from the teacher (0.7)")
    own.add_argument("--seconds", type=float, metavar="S", help="training time of both runs together (120)")
    own.add_argument("--start", metavar="weights|scratch", help="train the student on, or from nothing (weights)")
    own.add_argument("--images", type=int, metavar="N", help="images at most for each run")
    own.add_argument("--seed", type=int, help="of everything random (0)")
    own.add_argument("--job", default="", metavar="NAME", help="name under which the pages find it")
    own = verb(train, reports=False)
    own.add_argument("names", nargs="*", metavar="NAME", help="bundled models, or recipes that win (all)")
    own.add_argument("--check", action="store_true", help="a few steps only, to see that it runs")
    own.add_argument(
        "--out", metavar="DIR", help="folder of the weights (assets/weights; with --check nothing is kept)"
    )
