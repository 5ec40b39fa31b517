"""Planned figures of every bundled model and of its presets, as they were read and agreed to.

`make golden` writes the file anew; a changed figure is a change of meaning and is read like code.
"""

import json
import os
from pathlib import Path

from vitedge_core import compress
from vitedge_core.compress import plan_recipe
from vitedge_core.experiments.evaluate import costs
from vitedge_core.experiments.presets import presets
from vitedge_core.models.zoo import BUNDLED
from vitedge_core.recipe import Recipe

FILE = Path(__file__).with_name("costs.json")


def figures(recipe):
    planned = plan_recipe(recipe)
    assert not planned.problems
    return {name: figure.value for name, figure in costs(planned.last).items()}


def counted():
    compress._memory.clear()  # a recipe that another test carried out has an exact plan, not an estimate
    recipes = {name: {"as it is": Recipe(name)} for name in BUNDLED}
    for name, known in recipes.items():
        known |= {preset.title: preset.recipe for preset in presets(name)}
    return {name: {title: figures(recipe) for title, recipe in known.items()} for name, known in recipes.items()}


def test_costs_are_as_they_were():
    found = counted()
    if os.environ.get("VITEDGE_GOLDEN") == "write":
        FILE.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(FILE.read_text())
