"""Runs as points of a chart: one for each recipe, baselines among them, latencies on a common scale."""

import csv
import io
from dataclasses import replace

import pytest

from tests.unit.test_runs import a_run
from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments.points import best_within, covered, csv_text, image_sets, points
from vitedge_core.experiments.runs import machine
from vitedge_core.recipe import Recipe


def with_cost(run, macs):
    after = {**run.evaluation.compressed, "macs": Quantity.exact(macs, "MAC", "the plan")}
    return replace(run, evaluation=replace(run.evaluation, compressed=after))


def timed(ratio, before, *, paired, where=None):
    run = a_run(ratio, timed=True, machine=where or machine())
    clock = Quantity(before, "s", Evidence.MEASURED, "clock")
    return replace(
        run,
        evaluation=replace(
            run.evaluation,
            baseline={**run.evaluation.baseline, "latency_seconds": clock},
            ratio=Quantity(paired, "ratio", Evidence.MEASURED, "clock", paired - 0.1, paired + 0.1),
        ),
    )


def test_every_recipe_once_and_the_baseline_too():
    runs = [with_cost(a_run(0.5), 500_000), with_cost(a_run(0.8, accuracy=0.5), 600_000)]
    found = points(runs, "macs")
    assert [(p.cost.value, p.on_front) for p in found] == [(5e5, True), (6e5, False), (1e6, True)]
    assert found[-1].recipe == Recipe("tiny")
    assert found[-1].accuracy.value == 0.95


def test_recipes_that_differ_in_their_seed_share_a_baseline():
    runs = [with_cost(a_run(0.5), 5e5), with_cost(a_run(0.5), 5e5)]
    seeded = replace(runs[1].evaluation, recipe=replace(runs[1].recipe, seed=7))
    found = points([runs[0], replace(runs[1], evaluation=seeded)], "macs")
    assert [point.recipe.seed for point in found] == [0, 7, 0]
    assert [bool(point.recipe.active) for point in found] == [True, True, False]


def test_the_measurement_on_most_images_counts():
    found = points([a_run(n=2000, accuracy=0.8), a_run(n=500, accuracy=0.9)], "macs")
    assert [(p.n, p.accuracy.value) for p in found if p.recipe.active] == [(2000, 0.8)]


def test_latencies_taken_under_different_load_are_put_on_one_scale():
    # the machine was three times slower during the second run; the third is from another machine
    runs = [timed(0.2, 0.010, paired=0.9), timed(0.4, 0.030, paired=0.6), timed(0.6, 1.0, paired=0.1, where="another")]
    found = {p.recipe.steps and p.recipe.steps[0].knobs["ratio"]: p.cost for p in points(runs, "latency_seconds")}
    assert {key: cost.value for key, cost in found.items()} == {
        (): pytest.approx(0.020), 0.2: pytest.approx(0.018), 0.4: pytest.approx(0.012),
    }  # fmt: skip
    assert found[0.4].low == pytest.approx(0.010)
    assert points([a_run()], "latency_seconds") == ()


def test_the_knee_is_marked_on_the_front():
    runs = [with_cost(a_run(r, accuracy=a), m) for r, a, m in ((0.1, 0.94, 3e5), (0.2, 0.5, 1e5), (0.3, 0.4, 2e5))]
    found = points(runs, "macs")
    assert [p.cost.value for p in found if p.knee] == [3e5]
    assert all(p.on_front for p in found if p.knee)


def test_image_sets_are_kept_apart():
    runs = [a_run(), a_run(0.4), replace(a_run(digest="d2"), title="Others")]
    assert [(images.title, images.runs) for images in image_sets(runs)] == [("Digits", 2), ("Others", 1)]


def test_csv_holds_every_figure_and_opens_as_a_recipe():
    rows = list(csv.DictReader(io.StringIO(csv_text([a_run(), timed(0.4, 0.01, paired=0.6)]))))
    assert float(rows[0]["accuracy"]) == 0.9
    assert float(rows[0]["accuracy_low"]) == pytest.approx(0.88)
    assert rows[0]["macs_evidence"] == "measured"
    assert (rows[0]["latency_ratio"], float(rows[1]["latency_ratio"])) == ("", 0.6)
    assert Recipe.from_token(rows[0]["link_token"]) == a_run().recipe
    assert csv_text([]).strip() == ""


def gazed(run, hits, kept):
    """A run that knows where its model looks."""
    figures = {"pointing_hits": hits, "attention_on_object": hits / 2, "attention_kept": kept}
    after = {name: Quantity(value, "share", Evidence.MEASURED, "maps") for name, value in figures.items()}
    before = {**dict.fromkeys(figures, Quantity.exact(0.98, "share", "maps")), **run.evaluation.baseline}
    measured = replace(run.evaluation, baseline=before, compressed={**run.evaluation.compressed, **after})
    return replace(run, evaluation=measured)


def test_the_front_can_be_of_attention_instead_of_accuracy():
    exact = gazed(with_cost(a_run(0.2, accuracy=0.94), 5e5), hits=0.5, kept=0.4)
    careful = gazed(with_cost(a_run(0.4, accuracy=0.70), 6e5), hits=0.9, kept=0.95)
    unknown = with_cost(a_run(0.6, accuracy=0.93), 1e5)
    by_accuracy = points([exact, careful, unknown], "macs")
    assert [p.gain == p.accuracy for p in by_accuracy] == [True] * 4
    assert [p.on_front for p in by_accuracy if p.recipe == careful.recipe] == [False]
    found = points([exact, careful, unknown], "macs", "pointing_hits")
    assert [(p.gain.value, p.accuracy.value, p.on_front) for p in found] == [
        (0.5, 0.94, True), (0.9, 0.70, True), (0.98, 0.95, True),
    ]  # fmt: skip
    assert points([unknown], "macs", "attention_kept") == ()


def test_a_front_of_three_objectives_keeps_what_only_the_third_saves():
    small = with_figures(a_run(0.2, accuracy=0.8), macs=8e5, params=1e5)
    quick = with_figures(a_run(0.4, accuracy=0.9), macs=5e5, params=9e5)
    found = {p.cost.value: p for p in points([small, quick], "macs", "accuracy")}
    assert not found[8e5].on_front
    found = {p.cost.value: p for p in points([small, quick], "macs", "accuracy", "params")}
    assert found[8e5].on_front
    assert found[8e5].third.value == 1e5
    assert not any(p.knee for p in found.values())
    by_gains = points([small, quick], "accuracy", "params")
    assert [p.cost.value for p in by_gains] == [0.95, 0.9, 0.8]  # the best first, as of every objective


def with_figures(run, **counts):
    after = {name: Quantity.exact(value, "count", "the plan") for name, value in counts.items()}
    before = {name: Quantity.exact(1e6, "count", "the plan") for name in counts}
    measured = run.evaluation
    return replace(run, evaluation=replace(
        measured, compressed={**measured.compressed, **after}, baseline={**measured.baseline, **before}
    ))  # fmt: skip


def test_a_budget_keeps_costs_below_and_gains_above():
    runs = [with_cost(a_run(r, accuracy=a), m) for r, a, m in ((0.1, 0.94, 6e5), (0.2, 0.93, 3e5), (0.3, 0.93, 2e5))]
    found = points(runs, "macs")
    assert best_within(found, {"macs": 5e5}).cost.value == 2e5  # of equal accuracies the cheaper one
    assert best_within(found, {"macs": 6e5, "accuracy": 0.935}).cost.value == 6e5  # a limit may be reached
    assert best_within(found, {"macs": 1e5}) is None
    assert best_within(found, {}).accuracy.value == 0.95


def test_what_the_front_covers_is_its_hypervolume_with_an_interval():
    runs = [with_cost(a_run(0.2, accuracy=0.8), 2.5e5)]
    share = covered(points(runs, "macs"))  # the uncompressed model, at 1e6, is the end of the chart
    assert share.value == pytest.approx(0.75 * 0.8)
    assert (share.low, share.high) == (pytest.approx(0.75 * 0.78), pytest.approx(0.75 * 0.82))
    assert covered(()) is None
    assert covered(points([a_run(0.2, accuracy=0.8)], "macs", "accuracy")).evidence is Evidence.MEASURED
