"""ProxylessNAS against NSGA-II over the same choices at the same processor time, and against a plain ranking.

All three look for the shape of digits_vit_base that keeps most accuracy in a share of its time on a Raspberry Pi 5 (by
the roofline). NSGA-II tries shapes on calibration images without training; the plain ranking cuts every block alike.
Then every shape is trained on alike, and all are measured on the test images.

    python benchmarks/proxyless.py [share of the time, default 0.5]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import optuna
import torch
import torch.nn.functional as F

from vitedge_core.compress import compress, context_for, load_trained
from vitedge_core.datasets.sets import DIGITS, open_images
from vitedge_core.measure import accuracy
from vitedge_core.measure.accuracy import difference
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.plan import BLOCK_LAYERS
from vitedge_core.recipe import Recipe, Step
from vitedge_core.registry import technique
from vitedge_core.techniques.search.proxyless import FLOAT, Proxyless, _Search, roofline_seconds

MODEL, BOARD = "digits_vit_base", "Raspberry Pi 5"
SEARCH_IMAGES, TRAIN_IMAGES = 12_800, 12_800


def searched(target: float) -> tuple[Proxyless, float]:
    """What ProxylessNAS finds, and the processor seconds it took."""
    start = time.process_time()
    done = compress(Recipe(MODEL, (Step.of("proxyless", target=target, images=SEARCH_IMAGES, seconds=3600),)))
    (found,) = done.techniques
    assert isinstance(found, Proxyless)
    return found, time.process_time() - start


def evolved(target: float, seconds: float) -> tuple[Proxyless, int]:
    """What NSGA-II finds in so many processor seconds, and how many shapes it tried."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    context, plan, model = context_for(Recipe(MODEL)), trace(MODEL), load_trained(MODEL).eval()
    search = _Search(Proxyless(target=target), model, plan, context)
    blocks, limit = search.latency.blocks, search.limit
    images, labels = context.images, context.labels
    assert labels is not None

    def shape(trial: optuna.trial.Trial | optuna.trial.FrozenTrial) -> None:
        with torch.no_grad():
            for index, block in blocks.items():
                named = {"skip": block.skip, "heads": block.width, "hidden": block.neurons}
                for name, decision in named.items():
                    chosen = trial.suggest_int(f"{name}{index}", 0, len(decision.logits) - 1)
                    decision.open(chosen)
                    decision.logits.copy_(F.one_hot(torch.tensor(chosen), len(decision.logits)).float())

    def tried(trial: optuna.trial.Trial) -> tuple[float, float]:
        shape(trial)
        took = search.latency.seconds()
        trial.set_constraint("time", took / limit - 1)
        if took > 1.2 * limit:  # hopeless: no image is looked at
            return 1e3, took
        with torch.no_grad():
            return float(F.cross_entropy(search.net(images), labels)), took

    study = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.NSGAIISampler(seed=0))
    start = time.process_time()
    while time.process_time() - start < seconds:
        study.optimize(tried, n_trials=10)
    fitting = [trial for trial in study.trials if trial.constraints["time"] <= 0 and trial.values[0] < 1e3]
    shape(min(fitting, key=lambda trial: trial.values[0]))
    return replace(Proxyless(target=target), chosen=search.found()), len(study.trials)


def even(target: float) -> Step:
    """The mildest even cut of heads and neurons, by Taylor importance, that meets the target."""
    whole = roofline_seconds(trace(MODEL), BOARD)
    for percent in range(5, 95, 5):
        step = Step.of("head_mlp_taylor", ratio=percent / 100)
        plan = technique(step.technique).from_knobs(step.knobs).plan(trace(MODEL))
        if roofline_seconds(plan, BOARD) <= target * whole:
            return step
    raise SystemExit("no even cut is short enough")


def main() -> None:
    target = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    tested, prepared = open_images(DIGITS), preprocessing(MODEL)
    base = accuracy.evaluate(load_trained(MODEL), tested, prepared)
    found, seconds = searched(target)
    rival, tries = evolved(target, seconds)
    print(f"digits_vit_base: {base.top1.value:.1%} of {base.n:,} images; target {target:.0%} of the time on {BOARD}")
    print(f"ProxylessNAS searched {seconds:.0f} s of processor time; NSGA-II tried {tries} shapes in as long")
    heal, whole = Step.of("soft_logits", images=TRAIN_IMAGES, seconds=3600), roofline_seconds(trace(MODEL), BOARD)
    outcomes = {}
    for name, decided in (("ProxylessNAS", found), ("NSGA-II", rival), ("even cut", even(target))):
        context = context_for(Recipe(MODEL))
        if isinstance(decided, Proxyless):
            model = decided.apply(load_trained(MODEL).eval(), context).eval()
            plan = decided.plan(trace(MODEL))
            shape = [
                "-" if c.kept is None else f"{len(c.kept.heads)}/{len(c.kept.hidden)}" for _, c in decided.chosen or ()
            ]
            assert all(chosen.bits == (FLOAT,) * len(BLOCK_LAYERS) for _, chosen in decided.chosen or ())
        else:
            done = compress(Recipe(MODEL, (decided,)))
            model, plan = done.model, done.last
            shape = [f"{block.heads}/{block.hidden}" for block in plan.blocks]
        raw = accuracy.evaluate(model, tested, prepared)
        healed_model = technique("soft_logits").from_knobs(heal.knobs).apply(model, context).eval()
        healed = outcomes[name] = accuracy.evaluate(healed_model, tested, prepared)
        print(f"{name:13s} time {roofline_seconds(plan, BOARD) / whole:.2f}, MACs {plan.macs / trace(MODEL).macs:.2f}, "
              f"{raw.top1.value:.1%} cut, {healed.top1.value:.1%} trained on {TRAIN_IMAGES:,} images; "
              f"heads/neurons of the blocks {' '.join(shape)}", flush=True)  # fmt: skip
    for name in ("NSGA-II", "even cut"):
        gap = difference(outcomes[name], outcomes["ProxylessNAS"])
        print(f"ProxylessNAS minus {name}: {100 * gap.value:+.1f} points ({100 * (gap.low or 0):+.1f} to "
              f"{100 * (gap.high or 0):+.1f}), paired")  # fmt: skip


if __name__ == "__main__":
    main()
