"""How fast a cost report is: a ViT-B recipe in the core, beside fvcore counting the same model in the same run.

Limits: 5 ms for the median report, 100 times faster than fvcore. Times are of the processor on one thread, so that
other programs do not count.
"""

from __future__ import annotations

import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import timm
import torch
from fvcore.nn import FlopCountAnalysis

from vitedge_core.compress import plan_recipe
from vitedge_core.cost.report import cost
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step

MODEL = "vit_base_patch16_224"
RECIPE = Recipe(
    MODEL, (Step.of("head_mlp_magnitude", ratio=0.3), Step.of("tome", r=8), Step.of("uniform_ptq", w_bits=8, a_bits=8))
)
FIRST = ("deit_tiny_patch16_224", "vit_base_patch16_224", "swin_tiny_patch4_window7_224", "mobilevit_xxs", "levit_128s")


def seconds(call: Callable[[], object], times: int) -> float:
    """Median processor time of a call."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def fvcore_total() -> int:
    """What a user of fvcore does for a new figure: the analysis keeps its result, so each question needs a new one."""
    return FlopCountAnalysis(network, example).total()  # type: ignore[arg-type]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    network, example = timm.create_model(MODEL).eval(), torch.zeros(1, 3, 224, 224)

    for name in FIRST:
        start = time.process_time()
        trace(name)
        print(f"first count of {name}: {time.process_time() - start:.2f} s (limit 1 s)")

    plan = trace(MODEL)
    report = seconds(lambda: cost(plan), 101)
    recipe = seconds(lambda: [cost(after) for after in plan_recipe(RECIPE).plans[-1:]], 51)
    peer = seconds(fvcore_total, 5)
    print(f"report of {MODEL}: {1e3 * report:.2f} ms median (limit 5 ms)")
    print(f"three steps planned and reported: {1e3 * recipe:.2f} ms median (limit 5 ms)")
    print(f"fvcore on the same model: {1e3 * peer:.0f} ms median")
    print(f"times faster than fvcore: report {peer / report:.0f}, recipe and report {peer / recipe:.0f} (limit 100)")
