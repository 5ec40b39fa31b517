"""Every method against its own baseline on the bundled base model: what its card says was measured.

All 2,000 test images, none of which calibrated or trained anything; differences are paired with 95 % intervals.
Where a choice is random (what a baseline removes), the median of `DRAWS` draws stands for it.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import nn

from vitedge_core.compress import compress, context_for, load_trained
from vitedge_core.datasets.sets import DIGITS, open_images
from vitedge_core.measure.accuracy import Outcome, difference, evaluate
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe, Step
from vitedge_core.surgery.host import BlockHandle
from vitedge_core.surgery.masks import set_mask
from vitedge_core.surgery.structure import Inner
from vitedge_core.techniques.base import Card, Context, Family
from vitedge_core.techniques.narrowing import Narrowing
from vitedge_core.text.human import human, interval

MODEL = "digits_vit_base"
DRAWS = 5
IMAGES = 25_600  # of a fine-tuning run


@dataclass(frozen=True)
class Chance(Narrowing):
    """The baseline of structured pruning: which heads and neurons go is drawn by lot."""

    card: ClassVar[Card] = Card("chance", "By lot", Family.PRUNING, "none")

    def scores(
        self, model: nn.Module, handles: Sequence[BlockHandle], means: Sequence[Inner] | None, context: Context
    ) -> list[Inner]:
        """Random numbers instead of importance."""
        draw = context.generator
        return [
            Inner(torch.rand(h.heads, generator=draw), torch.rand(h.mlp.fc1.out_features, generator=draw))
            for h in handles
        ]


@cache
def images():
    return open_images(DIGITS)


def answers(model: nn.Module) -> Outcome:
    return evaluate(model, images().unseen(), preprocessing(MODEL))


@cache
def of(*steps: Step) -> Outcome:
    """What the model answers after these steps."""
    return answers(compress(Recipe(MODEL, steps)).model)


def drawn(make: Callable[[torch.Generator], nn.Module]) -> float:
    """Median accuracy of a few models that a lot decided."""
    return statistics.median(answers(make(torch.Generator().manual_seed(seed))).top1.value for seed in range(DRAWS))


def narrowed_by_lot(ratio: float, generator: torch.Generator) -> nn.Module:
    model, context = load_trained(MODEL), context_for(Recipe(MODEL))
    context.generator = generator
    decided = Chance(ratio=ratio).decide(model, trace(MODEL), context)
    return decided.apply(model, context).eval()


def zeroed_by_lot(ratio: float, generator: torch.Generator) -> nn.Module:
    model = load_trained(MODEL)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith("blocks."):
            set_mask(module, torch.rand(module.weight.shape, generator=generator) >= ratio)
    return model


def line(name: str, outcome: Outcome, than: Outcome | None = None) -> None:
    change = ""
    if than is not None:
        moved = difference(than, outcome)
        change = f"  {human(moved, signed=True)} ({interval(moved, signed=True)}) against the line above"
    print(f"  {name:<46} {human(outcome.top1):>7} ({interval(outcome.top1)}){change}")


def heading(text: str) -> None:
    print(f"\n{text}")


def structured() -> None:
    for ratio in (0.25, 0.5, 0.7):
        heading(f"{ratio:.0%} of heads and neurons removed, equally in every block")
        small, taylor = (of(Step.of(f"head_mlp_{kind}", ratio=ratio)) for kind in ("magnitude", "taylor"))
        print(f"  {'by lot (median)':<46} {drawn(lambda g, r=ratio: narrowed_by_lot(r, g)):7.1%}")
        line("by magnitude", small)
        line("by Taylor importance", taylor, small)
        for kind in ("magnitude", "taylor"):
            bare = of(Step.of(f"head_mlp_{kind}", ratio=ratio, compensate=False))
            line(f"by {kind}, not compensated", bare)
            line(f"by {kind}, compensated", of(Step.of(f"head_mlp_{kind}", ratio=ratio)), bare)
        line(
            "by Taylor importance, ranked globally",
            of(Step.of("head_mlp_taylor", ratio=ratio, ranking="global")),
            taylor,
        )


def unstructured() -> None:
    for ratio in (0.5, 0.6, 0.7):
        heading(f"{ratio:.0%} of single weights zero")
        print(f"  {'by lot (median)':<46} {drawn(lambda g, r=ratio: zeroed_by_lot(r, g)):7.1%}")
        line("smallest of every layer", of(Step.of("magnitude", ratio=ratio)))
        line("smallest of the whole model", of(Step.of("magnitude", ratio=ratio, ranking="global")),
             of(Step.of("magnitude", ratio=ratio)))  # fmt: skip


def blocks() -> None:
    count = len(trace(MODEL).blocks)
    for gone, ratio in ((1, 0.2), (2, 0.35)):
        heading(f"{gone} of {count} blocks removed")
        every = sorted(
            of(Step.of("layer_drop", blocks=",".join(map(str, chosen)))).top1.value
            for chosen in combinations(range(count), gone)
        )
        middle = statistics.median(every)
        print(f"  every choice of {gone}: worst {every[0]:.1%}, median {middle:.1%}, best {every[-1]:.1%}")
        line("chosen by the likeness of what enters and leaves", of(Step.of("layer_drop", ratio=ratio)))


def merging() -> None:
    for r in (4, 8):
        heading(f"{r} tokens merged in every block")
        plain = of(Step.of("tome", r=r, proportional=False))
        line("without proportional attention", plain)
        line("with proportional attention", of(Step.of("tome", r=r)), plain)


def rounding() -> None:
    heading("values of few bits")
    for w, a in ((8, 8), (4, 8), (4, 4)):
        ends = of(Step.of("uniform_ptq", w_bits=w, a_bits=a, observer="minmax"))
        line(f"W{w}A{a}, range from the extremes", ends)
        line(f"W{w}A{a}, range of smallest squared error", of(Step.of("uniform_ptq", w_bits=w, a_bits=a)), ends)
    coarse = of(Step.of("uniform_ptq", w_bits=4, a_bits=8, w_granularity="tensor"))
    line("W4A8, one scale per tensor", coarse)
    line("W4A8, one scale per channel", of(Step.of("uniform_ptq", w_bits=4, a_bits=8)), coarse)


def teaching() -> None:
    damaged: Iterable[tuple[str, Step]] = (
        ("50 % of heads and neurons removed", Step.of("head_mlp_taylor", ratio=0.5)),
        ("70 % of single weights zero", Step.of("magnitude", ratio=0.7)),
    )
    for name, step in damaged:
        heading(f"{name}, then {IMAGES:,} images of training")
        line("before", of(step))
        alone = of(step, Step.of("soft_logits", weight=0.0, images=IMAGES, seconds=3600))
        line("with labels only", alone, of(step))
        line("with the uncompressed model as teacher",
             of(step, Step.of("soft_logits", images=IMAGES, seconds=3600)), alone)  # fmt: skip


def main() -> None:
    line(f"{MODEL}, uncompressed", of())
    for part in (structured, unstructured, blocks, merging, rounding, teaching):
        part()


if __name__ == "__main__":
    main()
