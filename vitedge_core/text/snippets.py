"""A recipe as what a person types elsewhere: a command line, or a few lines of Python."""

from __future__ import annotations

import shlex

from vitedge_core.recipe import Recipe, Step


def command(recipe: Recipe, verb: str = "measure") -> str:
    """The shell line that does the same without a browser; steps that are switched off are left out."""
    words = ["python", "-m", "vitedge_core", verb, "--model", recipe.model]
    for step in recipe.active:
        words += ["--step", _step(step)]
    return " ".join(map(shlex.quote, words))


def python(recipe: Recipe) -> str:
    """The lines that do the same in a script."""
    steps = "".join(f"    {_call(step)},\n" for step in recipe.active)
    listed = f"(\n{steps})" if steps else "()"
    seed = f", seed={recipe.seed}" if recipe.seed else ""
    return (
        "from vitedge_core.compress import compress\n"
        "from vitedge_core.experiments.evaluate import evaluate\n"
        "from vitedge_core.recipe import Recipe, Step\n\n"
        f"recipe = Recipe({recipe.model!r}, {listed}{seed})\n"
        "model = compress(recipe).model  # a torch.nn.Module in eval mode\n"
        "print(evaluate(recipe).to_dict())  # every figure with its evidence and interval\n"
    )


def _step(step: Step) -> str:
    knobs = ",".join(f"{name}={_plain(value)}" for name, value in step.params)
    return f"{step.technique}:{knobs}" if knobs else step.technique


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _call(step: Step) -> str:
    knobs = "".join(f", {name}={value!r}" for name, value in step.params)
    return f"Step.of({step.technique!r}{knobs})"
