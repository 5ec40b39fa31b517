"""Peak memory of one inference, foretold from the plan beside what torch's allocator records, for models of every kind.

Limit: 10 % for each model. One thread, one image and a batch of four; random weights. Names as arguments choose others.
"""

from __future__ import annotations

import statistics
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from vitedge_core.cost.memory import peak_memory, weights_in_memory
from vitedge_core.measure.memory import peak_memory as measured
from vitedge_core.models.build import build
from vitedge_core.models.trace import trace

BATCHES = (1, 4)
LIMIT = 0.10
MODELS = (
    "digits_vit_base", "digits_swin", "digits_convnet", "deit_tiny_patch16_224", "vit_small_patch32_224",
    "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "pvt_v2_b0", "twins_pcpvt_small", "mobilevit_xxs",
    "efficientvit_b0", "efficientvit_m0", "tiny_vit_5m_224", "levit_128s", "efficientformer_l1", "fastvit_t8",
    "edgenext_xx_small", "repvit_m0_9", "xcit_nano_12_p16_224", "convit_tiny", "hiera_tiny_224", "convnext_tiny",
    "resnet50",
)  # fmt: skip


def main(names: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    print(f"{'model':32}{'batch':>6}{'foretold MB':>14}{'measured MB':>14}{'ratio':>8}{'without weights':>17}")
    ratios = []
    for name in names:
        plan, model = trace(name), build(name).eval().requires_grad_(requires_grad=False)
        weights = weights_in_memory(plan)
        for batch in BATCHES:
            foretold, found = peak_memory(plan, batch), measured(model, torch.randn(batch, *plan.image)).value
            ratios.append(foretold / found)
            alone = (foretold - weights) / (found - weights)
            print(
                f"{name:32}{batch:6}{foretold / 1e6:14.2f}{found / 1e6:14.2f}{ratios[-1]:8.3f}{alone:17.3f}", flush=True
            )
    off = [abs(ratio - 1) for ratio in ratios]
    print(f"{len(names)} models, {len(ratios)} cases: median {statistics.median(off):.1%} off, worst {max(off):.1%} "
          f"(limit {LIMIT:.0%}); {sum(each <= LIMIT for each in off)} within the limit")  # fmt: skip


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or MODELS)
