"""Which sweep a recipe belongs to."""

import json

from tests.unit.test_runs import a_run
from vitedge_core.experiments import jobs
from vitedge_core.experiments.space import Axis, Space
from vitedge_core.experiments.store import study
from vitedge_core.experiments.studies import attributed, memberships
from vitedge_core.experiments.sweep import KIND
from vitedge_core.recipe import Recipe, Step


def a_sweep(url, name, values, started, *, plain=None):
    """A sweep as its process leaves it in the store, all recipes measured."""
    space = Space(Recipe("tiny", (Step.of("head_mlp_magnitude", ratio=0.5),)), (Axis(0, "ratio", values),))
    home = study(name, url, create=True)
    home.set_user_attr("job", {"kind": KIND, "title": "Sweep of tiny", "arguments": [], "started": started})
    home.set_user_attr("state", [jobs.State.FINISHED, ""])
    home.set_user_attr("space", plain or json.loads(json.dumps(space.to_dict())))
    for settings in space.grid():
        home.enqueue_trial(settings)
    from optuna.distributions import CategoricalDistribution

    for _ in values:
        trial = home.ask({space.name(space.axes[0]): CategoricalDistribution(values)})
        home.tell(trial, [0.9, 1e6])


def test_a_recipe_belongs_to_the_newest_sweep_that_holds_it(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    a_sweep(url, "sweep-1", (0.1, 0.2), 1.0)
    a_sweep(url, "sweep-2", (0.2, 0.3), 2.0)
    found = memberships(url)
    assert [(sweep.name, sweep.title, len(sweep.recipes)) for sweep in found] == [
        ("sweep-2", "Sweep of tiny (2)", 2), ("sweep-1", "Sweep of tiny (1)", 2),
    ]  # fmt: skip
    runs = attributed([a_run(r, origin=o) for r, o in ((0.1, ""), (0.2, "sweep"), (0.3, "Build"), (0.4, "Build"),
                                                       (0.5, ""))], found)  # fmt: skip
    assert [run.origin for run in runs] == [
        "Sweep of tiny (1)", "Sweep of tiny (2)", "Sweep of tiny (2)", "Build", "elsewhere",
    ]  # fmt: skip


def test_a_run_in_another_engine_is_of_no_sweep_in_this_one(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    a_sweep(url, "sweep-1", (0.1,), 1.0)
    here, elsewhere = attributed([a_run(0.1), a_run(0.1, engine="OpenVINO, int8")], memberships(url))
    assert (here.origin, elsewhere.origin) == ("Sweep of tiny", "elsewhere")


def test_a_sweep_of_another_version_is_left_out(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    a_sweep(url, "sweep-1", (0.1, 0.2), 1.0, plain={"version": 99})
    assert memberships(url) == ()
