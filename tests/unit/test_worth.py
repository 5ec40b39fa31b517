"""Whether a recipe is worth its images: never on a guess, and never against a recipe seen on fewer images."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitedge_core.compress import plan_recipe
from vitedge_core.errors import Unneeded
from vitedge_core.evidence import Evidence, Quantity, wilson
from vitedge_core.experiments.evaluate import evaluate
from vitedge_core.experiments.goal import Goal, Limit
from vitedge_core.experiments.worth import Known, Worth
from vitedge_core.recipe import Recipe, Step

PLAN = plan_recipe(Recipe("digits_vit_base")).last
MACS = PLAN.macs
BASE = Quantity(0.96, "share", Evidence.MEASURED, "test", 0.95, 0.97)


def seen(right, n):
    return Quantity(right / n, "share", Evidence.MEASURED, "test", *wilson(right, n))


def gate(*known, goal=None, **options):
    return Worth(goal or Goal(), (100, 500), lambda: known, **options)


def same(n):
    return Quantity.exact(0.0, "share", "test")


def test_a_plan_beyond_a_limit_is_not_carried_out():
    goal = Goal(limits=(Limit("macs", most=MACS - 1),))
    with pytest.raises(Unneeded, match="does not keep to"):
        gate(goal=goal).before(PLAN, BASE)
    gate(goal=Goal(limits=(Limit("macs", most=MACS),))).before(PLAN, BASE)


def test_an_estimate_refuses_nothing():
    from dataclasses import replace

    goal = Goal(limits=(Limit("macs", most=1),))
    with pytest.raises(Unneeded):
        gate(goal=goal).before(PLAN, BASE)
    gate(goal=goal).before(replace(PLAN, exact=False), BASE)


def test_one_that_could_at_best_be_as_good_is_not_carried_out():
    better = Known(7, (0.97, MACS - 1), 2000)
    with pytest.raises(Unneeded, match="Recipe 7"):
        gate(better).before(PLAN, BASE)
    gate(Known(7, (0.969, MACS - 1), 2000)).before(PLAN, BASE)  # the baseline's interval reaches further
    gate(Known(7, (0.97, MACS + 1), 2000)).before(PLAN, BASE)  # it costs more
    gate(better, learns=True).before(PLAN, BASE)  # training may make it better than the baseline
    gate(better).before(PLAN, None)  # nothing is known of the baseline


def test_images_stop_when_even_the_upper_end_is_beaten():
    one = gate(Known(1, (0.9, MACS), 500))
    one.before(PLAN, None)
    assert one.enough(seen(70, 100), same(100), 100)
    assert not one.enough(seen(88, 100), same(100), 100)
    assert not one.enough(seen(880, 1000), same(1000), 1000), "the other one saw fewer images"


def test_a_limit_on_the_loss_stops_when_it_is_certainly_broken():
    one = gate(goal=Goal(limits=(Limit.parse("lost <= 1 point"),)))
    one.before(PLAN, BASE)
    worse = Quantity(-0.05, "share", Evidence.MEASURED, "test", -0.09, -0.005)
    assert not one.enough(seen(90, 100), worse, 100)
    worse = Quantity(-0.05, "share", Evidence.MEASURED, "test", -0.09, -0.011)
    assert one.enough(seen(90, 100), worse, 100)


def test_an_objective_that_is_open_beats_nobody():
    one = gate(Known(1, (1.0, 0.0), 2000), goal=Goal(("accuracy", "latency_seconds")))
    one.before(PLAN, BASE)
    assert not one.enough(seen(1, 100), same(100), 100)


@given(st.integers(0, 100), st.integers(0, 100), st.sampled_from([0.5, 1.0, 2.0]))
def test_whoever_is_stopped_is_beaten_with_all_its_luck(right, other, cost):
    one = gate(Known(1, (other / 100, MACS * cost), 100))
    one.before(PLAN, None) if other < 100 or cost > 1 else None
    if other == 100 and cost <= 1:
        return  # beaten before any image
    accuracy = seen(right, 100)
    assert one.enough(accuracy, same(100), 100) == (cost <= 1 and other / 100 >= accuracy.high)


def test_fewer_images_are_the_first_ones_of_all():
    """A recipe that is stopped has the accuracy that a run on so many images would have given."""
    recipe = Recipe("digits_vit_small", (Step.of("head_mlp_magnitude", ratio=0.8),))
    asked = []

    class Enough:
        rungs = (30, 100)

        def before(self, plan, baseline):
            asked.append(baseline)

        def enough(self, accuracy, difference, n):
            asked.append((n, accuracy.value, difference.value))
            return n == 100

    short = evaluate(recipe, limit=200, latency=False, gate=Enough())
    whole = evaluate(recipe, limit=100, latency=False)
    assert short.n == 100
    assert short.compressed["accuracy"] == whole.compressed["accuracy"]
    assert short.baseline["accuracy"] == whole.baseline["accuracy"]
    assert short.difference == whole.difference
    assert asked[1][0] == 30
    assert asked[2] == (100, short.compressed["accuracy"].value, short.difference.value)
