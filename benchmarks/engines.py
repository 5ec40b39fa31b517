"""What every engine buys on this machine: float32 eager PyTorch against all of them, in turn, one image, one thread.

Ratios of processor time (higher is faster) with their bootstrap intervals, the relative error of the logits, what
really ran, and the seconds of building. Speeds do not depend on the weights, so networks without any at hand are drawn
by lot; errors are then those of random weights. "Expected" are ratios measured for DeiT-Small when the engines were
chosen, on a processor with AVX512-VNNI and bfloat16; other processors give others.

    python benchmarks/engines.py [MODEL ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn

from vitedge_core.backends import BASELINE, ENGINES
from vitedge_core.backends.base import Artefact, Source
from vitedge_core.compress import context_for
from vitedge_core.errors import VitEdgeError
from vitedge_core.measure.latency import compare
from vitedge_core.models.build import build
from vitedge_core.models.load import has_weights, load
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "digits_vit_base")
EXPECTED = {
    "onnxruntime": "2.1", "onnxruntime-dynamic-int8": "4.4", "onnxruntime-int8": "3.1 to 3.4", "openvino": "2.5",
    "openvino-bf16": "4.3", "openvino-int8": "6.4 to 6.8", "compiled-bf16": "3.0", "torchao-dynamic-int8": "3.4",
    "torchao-weight-only-int8": "1.0",
}  # fmt: skip
SECONDS = 20.0


def prepared(name: str) -> tuple[nn.Module, Tensor]:
    """The model, and images [32, 3, height, width]: real ones where there are, else noise."""
    if has_weights(name):
        try:
            return load(name).model.eval(), context_for(Recipe(name)).images[:32]
        except VitEdgeError:  # weights without images
            pass
    torch.manual_seed(0)
    channels, height, width = trace(name).image
    return build(name).eval(), torch.randn(32, channels, height, width)


def made(model: nn.Module, name: str, images: Tensor) -> dict[str, Artefact]:
    """What each engine makes of it; why it cannot is printed."""
    found = {}
    for engine in ENGINES:
        try:
            found[engine.key] = engine.build(Source(model, trace(name), images[:1], lambda: images))
        except VitEdgeError as reason:
            print(f"  {engine.title}: {reason}")
    return found


def table(name: str) -> None:
    """One network in all engines."""
    model, images = prepared(name)
    weights = "trained weights" if has_weights(name) else "random weights"
    print(f"{name}, {weights}, one image, one thread", flush=True)
    built = made(model, name, images)
    runners = {key: artefact.open(1, 1) for key, artefact in built.items()}
    timings = compare(runners, images[:1], seconds=SECONDS, rounds=200)
    with torch.inference_mode():
        exact = model(images[:8])
        logits = {
            key: torch.cat([runner(image).clone() for image in images[:8].split(1)]) for key, runner in runners.items()
        }
    print(
        f"  {'engine':38s} {'faster':>7s}  {'interval':14s} {'expected':11s} {'error':>7s} {'build s':>8s}  what runs"
    )
    for key, artefact in built.items():
        ratio = timings.cpu_ratio(BASELINE.key, key)
        error = float((logits[key] - exact).norm() / exact.norm())
        expected = EXPECTED.get(key, "") if name.startswith("deit_small") else ""
        bounds = f"{ratio.low or 0:.2f} to {ratio.high or 0:.2f}"
        print(f"  {key:38s} {ratio.value:6.2f}x  {bounds:14s} {expected:11s} {error:7.4f} {artefact.seconds:8.1f}  "
              f"{'; '.join(artefact.facts)}")  # fmt: skip
    if timings.warning:
        print(f"  {timings.warning}")


def main() -> None:
    for name in sys.argv[1:] or MODELS:
        table(name)


if __name__ == "__main__":
    main()
