"""Every model of the zoo against timm's parameters and two referees of its multiply-accumulates, and how fast we count.

Each model is counted at its own size and at another one in a batch of two, by PyTorch's counter and by fvcore, on the
real model with random weights. Limits: no deviation at all, 1 s for the first count, 5 ms for every later report;
times are of the processor on one thread. Names as arguments choose some of the models.
"""

from __future__ import annotations

import csv
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from referee import fvcore_counts, products, torch_macs
from torch import nn

from vitedge_core.cost.report import cost
from vitedge_core.errors import VitEdgeError
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace
from vitedge_core.plan import Plan

ZOO = Path(__file__).parents[1] / "vitedge_core" / "published" / "zoo.csv"
FIRST, LATER = 1.0, 5e-3  # seconds
BATCH = 2


def first_count(name: str) -> tuple[Plan, float]:
    """The plan, and the seconds it takes when nothing is remembered."""
    start = time.process_time()
    plan = trace.__wrapped__(name)
    return plan, time.process_time() - start


def report_seconds(plan: Plan) -> float:
    """Median of the later reports."""
    taken = []
    for _ in range(11):
        start = time.process_time()
        cost(plan)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def deviations(model: nn.Module, plan: Plan, batch: int) -> tuple[float, int, int]:
    """What is claimed for the batch, and by how much each referee counts otherwise."""
    images = torch.zeros(batch, *plan.image)
    claimed = int(cost(plan, batch).macs.value)
    return claimed, torch_macs(model, images) - claimed, products(fvcore_counts(model, images)) - claimed


def other_size(name: str, own: int) -> Plan | None:
    """The plan at the nearest larger size it can take, else at a smaller one."""
    for side in (own + 32, own * 8 // 7, own * 3 // 2, own * 2, own * 6 // 7, own // 2):
        try:
            return trace.__wrapped__(name, side)
        except VitEdgeError:
            continue
    return None


def row(name: str) -> tuple[int, float, float]:
    """Print a model's line; gives its largest deviation and both times."""
    plan, first = first_count(name)
    later = report_seconds(plan)
    model = build(name).eval().requires_grad_(requires_grad=False)
    params = sum(p.numel() for p in model.parameters()) - plan.params
    macs, *wrong = deviations(model, plan, 1)
    told = [f"{plan.image[1]}", f"{macs / 1e9:9.4f}", *(f"{d:+d}" for d in wrong)]
    other = other_size(name, plan.image[1])
    if other is not None:
        larger = build(name, other.image[1]).eval().requires_grad_(requires_grad=False)
        macs, *more = deviations(larger, other, BATCH)
        told += [f"{BATCH} x {other.image[1]}", f"{macs / 1e9:9.4f}", *(f"{d:+d}" for d in more)]
        wrong += more
    else:
        told += ["no other", "", "", ""]
    worst = max(map(abs, (params, *wrong)))
    columns = (f"{params:+d}", *told, f"{first:.2f}", f"{1e3 * later:.1f}")
    print(f"{name:50}", *(f"{text:>10}" for text in columns), flush=True)
    return worst, first, later


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    heads = ("params", "image", "GMAC", "torch", "fvcore", "batch", "GMAC", "torch", "fvcore", "first s", "later ms")
    print("deviations from our count of parameters and multiply-accumulates")
    print(f"{'model':50}", *(f"{text:>10}" for text in heads))
    trace.__wrapped__("digits_vit_base")  # what is loaded once is not the first model's
    results = [row(name) for name in names]
    print(f"{len(results)} models: largest deviation {max(r[0] for r in results)} (limit 0)")
    firsts, laters = [r[1] for r in results], [r[2] for r in results]
    print(f"first count: median {statistics.median(firsts):.2f} s, worst {max(firsts):.2f} s (limit {FIRST:g} s)")
    print(f"later report: median {1e3 * statistics.median(laters):.1f} ms, worst {1e3 * max(laters):.1f} ms "
          f"(limit {1e3 * LATER:g} ms)")  # fmt: skip


if __name__ == "__main__":
    with ZOO.open(encoding="utf-8") as table:
        everything = [entry["name"] for entry in csv.DictReader(table)]
    main(sys.argv[1:] or everything)
