"""What a sweep takes, and what searching is worth, on the bundled base model.

Prints: seconds for 200 measured recipes by two processes (limit 300), with the images they took; what the sweep itself
costs beside the evaluation (limit 5 %); and the hypervolume that each search method reaches, as a share of that of all
recipes of a measured table, at equal numbers of recipes and over several seeds.

Name parts to run only those: `benchmarks/sweeps.py speed overhead search`.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from vitedge_core.evidence import Evidence, Quantity
from vitedge_core.experiments import evaluate, trial_queue
from vitedge_core.experiments.axes import Axis
from vitedge_core.experiments.goal import Goal
from vitedge_core.experiments.pareto import hypervolume
from vitedge_core.experiments.runs import all_runs
from vitedge_core.experiments.space import Space
from vitedge_core.experiments.store import study
from vitedge_core.experiments.sweep import run_sweep
from vitedge_core.recipe import Recipe, Step

ROOT = Path(__file__).parents[1]
MODEL = "digits_vit_base"
RECIPE = Recipe(
    MODEL, (Step.of("head_mlp_taylor", ratio=0.2), Step.of("tome", r=2), Step.of("uniform_ptq", w_bits=8, a_bits=8))
)
RATIOS = tuple(round(0.1 * place, 1) for place in range(1, 9))
OBJECTIVES = Goal(("accuracy", "macs", "weight_bytes"))
SEARCH = Space(
    RECIPE, (Axis(0, "ratio", RATIOS), Axis(1, "r", (1, 2, 3, 4)), Axis(2, "w_bits", (3, 4, 5, 6, 7, 8))),
    optional=(0, 1, 2), goal=OBJECTIVES, sampler="nsga2", trials=200, limit=500, halving=True,
)  # fmt: skip
TABLE = replace(
    SEARCH, recipe=Recipe(MODEL, (*RECIPE.steps[:2], Step.of("uniform_ptq", w_bits=8, a_bits=32))), sampler="grid",
    trials=None, limit=200, halving=False,
)  # fmt: skip
TRIALS, SEEDS = 60, 8


def written(space: Space, name: str) -> Path:
    path = Path(os.environ["VITEDGE_DATA"]) / f"{name}.json"
    path.write_text(json.dumps(space.to_dict()))
    return path


def swept(space: Space, name: str) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, of the command with two processes."""
    command = [sys.executable, "-m", "vitedge_core", "sweep", str(written(space, name)), "--study", name]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*command, "--workers", "2"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def speed() -> None:
    seconds, processor = swept(SEARCH, "speed")
    trials = study("speed").get_trials(deepcopy=False)
    images = Counter(trial.user_attrs["n"] for trial in trials if trial.state.name == "COMPLETE")
    skipped = sum("skipped" in trial.user_attrs for trial in trials)
    shown = ", ".join(f"{count} on {n:,}" for n, count in sorted(images.items()))
    print(
        f"{images.total()} measured recipes, two processes: {seconds:.0f} s (limit 300 s), {processor:.0f} s of the "
        f"processor, {processor / 2:.0f} s on each of two cores\n  images: {shown}; {skipped} recipes were skipped"
    )


def overhead(count: int = 40) -> None:
    """One process; all that is not the evaluation itself: proposing, planning, looking up, writing down, heartbeats."""
    inside = 0.0
    carry_out: Callable[..., Any] = evaluate.evaluate

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal inside
        start = time.process_time()
        try:
            return carry_out(*arguments, **options)
        finally:
            inside += time.process_time() - start

    for sampler in ("random", "tpe", "nsga2"):
        space = replace(SEARCH, sampler=sampler, trials=count, seed=7)
        path = written(space, f"overhead-{sampler}")
        evaluate.evaluate, inside = timed, 0.0
        start = time.process_time()
        url = f"sqlite:///{path.with_suffix('.db')}"
        try:
            run_sweep(path, "overhead", url)
        finally:
            evaluate.evaluate = carry_out
        beside = time.process_time() - start - inside
        print(
            f"overhead, {sampler}: {beside / count * 1e3:.0f} ms beside {inside / count * 1e3:.0f} ms of evaluation "
            f"for each of {count} recipes, {beside / inside:.1%} (limit 5 %)"
        )


def search() -> None:
    seconds, _ = swept(TABLE, "table")
    found = {run.recipe.digest: run.evaluation.compressed for run in all_runs()}
    table = {recipe.digest: found[recipe.digest] for recipe in TABLE.recipes() if recipe.digest in found}
    worst = [max(values) for values in zip(*(minimised(figures) for figures in table.values()), strict=True)]
    best = hypervolume([minimised(figures) for figures in table.values()], worst)
    print(
        f"table: {len(table)} recipes measured in {seconds:.0f} s; {TRIALS} of them for each method, {SEEDS} seeds",
        flush=True,
    )
    base: list[float] = []
    for name, cold in (("random", False), ("random", True), ("nsga2", False), ("tpe", False), ("gp", False)):
        start = time.process_time()
        shares = [volume(name, seed, table, worst, cold=cold) / best for seed in range(SEEDS)]
        proposing = (time.process_time() - start) / (SEEDS * TRIALS)
        base = base or shares
        won = sum(share > other for share, other in zip(shares, base, strict=True))
        begun = "from nothing" if cold else "from the presets"
        print(
            f"  {name:7} {begun:17} hypervolume {mean(shares):.1%} ± {stdev(shares):.1%} of the table's; it lacks "
            f"{(1 - mean(shares)) / max(1e-9, 1 - mean(base)):.2f} times what random from the presets lacks, and is "
            f"better in {won} of {SEEDS}; {1e3 * proposing:.0f} ms for each recipe without its measurement",
            flush=True,
        )


def minimised(figures: Mapping[str, Quantity]) -> list[float]:
    return [-figures["accuracy"].value, figures["macs"].value, figures["weight_bytes"].value]


def volume(
    sampler: str, seed: int, table: Mapping[str, Mapping[str, Quantity]], worst: list[float], *, cold: bool
) -> float:
    """What a search reaches whose measurements are looked up."""
    seen: list[list[float]] = []

    def look_up(space: Space, recipe: Recipe, *rest: object) -> tuple[Mapping[str, Quantity], int]:
        figures = table[recipe.digest]
        seen.append(minimised(figures))
        return {**figures, "lost": Quantity(0.0, "share", Evidence.MEASURED, "not used")}, 200

    space = replace(TABLE, sampler=sampler, trials=TRIALS, seed=seed)
    path = written(space, f"{sampler}-{seed}-{cold}")
    warm = trial_queue.warm_start
    trial_queue.warm_start = (lambda _: ()) if cold else warm
    try:
        run_sweep(path, "search", f"sqlite:///{path.with_suffix('.db')}", measure=look_up)
    finally:
        trial_queue.warm_start = warm
    return hypervolume(seen, worst)


PARTS = {"speed": speed, "overhead": overhead, "search": search}


def main() -> None:
    os.environ.pop("VITEDGE_STORAGE", None)
    with tempfile.TemporaryDirectory(prefix="vitedge-sweeps-") as folder:  # nothing is known from before
        os.environ["VITEDGE_DATA"] = folder
        for name in sys.argv[1:] or PARTS:
            PARTS[name]()


if __name__ == "__main__":
    main()
